"""What every labelling tool's format consists of: how tasks go out, how answers come back, what a labeller does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecos_core.labelling.answers import Said
from ecos_core.labelling.formats.folder_names import folder_for
from ecos_core.labelling.handoff import Handoff
from ecos_core.labelling.tasks import Task


@dataclass(frozen=True)
class Outgoing:
    """A hand-off about to be written into ``folder``. ``sizes``: sample_id -> width and height; ``pictures``: the
    bytes of every image with its sample_id, read anew at each call; ``image_url``: where the tool loads images."""

    folder: Path
    tasks: Sequence[Task]
    sizes: Mapping[str, tuple[int, int]]
    label_set: Sequence[str]
    instructions: str
    image_url: str | None
    pictures: Callable[[], Iterator[tuple[str, bytes]]]

    def batches(self) -> Iterator[tuple[str, list[Task]]]:
        """File name without suffix -> tasks: all of them, and then those of each annotator."""
        yield "tasks", list(self.tasks)
        for name in sorted({name for task in self.tasks for name in task.annotators}):
            yield f"tasks-{folder_for(name)}", [task for task in self.tasks if name in task.annotators]


@dataclass(frozen=True)
class Returned:
    """Something that came back for the hand-off ``given``; ``control`` names the question that holds the label, where
    a tool asked several."""

    where: Path
    given: Handoff
    control: str | None = None


@dataclass(frozen=True)
class LabelFormat:
    """One tool's format.

    ``write`` puts its files into the hand-off's folder; ``read`` yields the entries of what comes back and raises
    InputError when that is something else; ``steps`` tell a labeller what to do, ``{folder}`` standing for the
    hand-off's folder; ``place`` is where an image lies in it, None where the format carries the images itself.
    """

    name: str
    write: Callable[[Outgoing], None]
    read: Callable[[Returned], Iterator[Said]]
    steps: str
    place: Callable[[Task], str] | None = lambda task: f"images/{task.file_name}"
