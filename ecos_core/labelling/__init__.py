"""Hand a selection to labellers and take the labels back."""

from ecos_core.labelling.agreement import Agreement, Suspect, agreement, fleiss_kappa, suspected_errors
from ecos_core.labelling.export import HandoffReport, export_handoff
from ecos_core.labelling.formats import FORMATS
from ecos_core.labelling.handoff import Handoff
from ecos_core.labelling.labels import LabelStore
from ecos_core.labelling.resolution import Resolution
from ecos_core.labelling.returns import ImportReport, handoff_status, import_handoff
from ecos_core.labelling.review import write_review
from ecos_core.labelling.status import HandoffStatus
from ecos_core.labelling.tasks import Preannotation

__all__ = [
    "FORMATS",
    "Agreement",
    "Handoff",
    "HandoffReport",
    "HandoffStatus",
    "ImportReport",
    "LabelStore",
    "Preannotation",
    "Resolution",
    "Suspect",
    "agreement",
    "export_handoff",
    "fleiss_kappa",
    "handoff_status",
    "import_handoff",
    "suspected_errors",
    "write_review",
]
