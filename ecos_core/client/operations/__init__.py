"""What a client can be asked, by name: each module holds one operation."""

from ecos_core.client.operations import aggregate, evaluate, label, label_histogram, score
from ecos_core.client.operations.operation import Operation

OPERATIONS: dict[str, Operation] = {
    module.OPERATION.name: module.OPERATION for module in (score, label, label_histogram, evaluate, aggregate)
}
