"""How many hosts a run may lose before it stops. Pure functions."""

from __future__ import annotations

import dataclasses
import math

from inventory_service.codes.run import End
from inventory_service.models import Stage
from inventory_service.reasons import Reason, because
from inventory_service.registry.number_or_percent import hosts_in


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """A stage's bounds, each a number of hosts, a share, or empty for none."""

    minimum_healthy: str = ""
    maximum_unreachable: str = ""

    @classmethod
    def of(cls, stage: Stage) -> Budget:
        """The bounds that the stage has now."""
        return cls(stage.minimum_healthy, stage.maximum_unreachable)

    @property
    def tolerates_unreachable(self) -> bool:
        """Whether unreachable hosts within the bound leave a run successful. Without a bound each one fails it."""
        return bool(self.maximum_unreachable)

    def broken(self, *, live: int, healthy: int, chosen: int, unreachable: int) -> Reason | None:
        """Why a run must stop, or None.

        `live` hosts of the stage were live when the run began, `healthy` of them still are and did not fail in it;
        of the run's `chosen` hosts `unreachable` could not be reached although they count as live.
        """
        if self.maximum_unreachable and unreachable > (most := hosts_in(self.maximum_unreachable, chosen, rounded=int)):
            bound = self.maximum_unreachable
            return because(End.TOO_MANY_UNREACHABLE, count=unreachable, of=chosen, bound=bound, most=most)
        if self.minimum_healthy and healthy < (least := hosts_in(self.minimum_healthy, live, rounded=math.ceil)):
            return because(End.TOO_FEW_HEALTHY, count=healthy, of=live, bound=self.minimum_healthy, least=least)
        return None
