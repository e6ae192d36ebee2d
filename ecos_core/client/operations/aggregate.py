"""Coverage scores of which only the sum over several clients is seen: masked, with this client's share of the noise.

Domain, neighbours and bound as for ``score``, radii and regions included: the same vote. Each of N clients adds
discrete Gaussian noise of sigma / sqrt(N); what a client is charged counts on the noise of those only that its owner
trusts (``federation.trusted_sigma``, with its proof). Assumes that of the owner's list of peers at most as many are
dishonest as the owner says. A cell's sum must stay below 2^31 votes, or under ``unit`` steps of a vote.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ecos_core.client.operations.operation import Operation, Sum
from ecos_core.client.operations.score import votes
from ecos_core.client.protocol import Arrays, Parameters, Participant, Sigma


class AggregateParameters(Parameters):
    """The header of a score request whose answer is masked, so that only the sum over ``participants`` is
    seen.

    ``sigma`` is the noise of the sum; every client adds its share, sigma / sqrt(number of participants).
    """

    operation: Literal["aggregate"] = "aggregate"
    sigma: Sigma
    participants: Annotated[tuple[Participant, ...], Field(min_length=2, max_length=1000)]


def ask(asked: AggregateParameters, arrays: Arrays) -> Sum:
    """Masked counts uint32 [R], or [R + K] with radii and regions."""
    return Sum(
        *votes(arrays),
        asked.sigma,
        centroids=arrays["centroids"],
        radii=arrays.get("radii"),
        participants=asked.participants,
    )


OPERATION = Operation(
    "Masked scores, of which only the sum over several clients can be read.",
    AggregateParameters,
    {"centroids": "centroids"},
    ask,
    takes_reach=True,
)
