"""A shop whose truth is known: contexts, clicks, purchases, and the exact value of any policy.

`Shop` makes logs and knows what a policy is worth; `truth.expected` gives the exact click and purchase probabilities of
any page of a log that was written.
"""

from pageopt.simulator.contexts import Contexts
from pageopt.simulator.model import LearningPolicy, Policy
from pageopt.simulator.shop import Logs, Shop, TrueValue

__all__ = ["Contexts", "LearningPolicy", "Logs", "Policy", "Shop", "TrueValue"]
