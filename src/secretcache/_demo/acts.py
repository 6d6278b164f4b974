"""What can be seen in the demo: apart, so that the command line need not import what plays it."""

from enum import Enum

__all__ = ["Act"]


class Act(str, Enum):
    """What is to be seen."""

    OUTAGE = "outage"
    ROTATION = "rotation"
    BOTH = "both"
