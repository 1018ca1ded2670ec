"""Every fault by name, in one table. The fault `down` is the model `standin/down`, and a step for `standin.script`."""

from standin import bad_days, good_days, refusals
from standin.scenario import Fault

FAULTS: dict[str, Fault] = {
    **good_days.fault,
    **{refusal.name: Fault(refusal.description, refusal) for refusal in refusals.REFUSALS},
    **bad_days.fault,
}
