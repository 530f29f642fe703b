"""A made-up shop that knows the truth about its visitors: for demos, tests and evaluation.

``World(seed=7)`` is the shop; ``world.events()`` what happens in it;
``world.steps()`` the same with the moment before each positive interaction,
from which :func:`oracle_scores` tells what would have been best to recommend.
"""

from rillet.simulate.measure import HitRates, Rates, oracle_hit_rates
from rillet.simulate.sessions import EXAMINATION, Step
from rillet.simulate.truth import Moment, oracle_scores
from rillet.simulate.world import Plan, World

__all__ = [
    "EXAMINATION",
    "HitRates",
    "Moment",
    "Plan",
    "Rates",
    "Step",
    "World",
    "oracle_hit_rates",
    "oracle_scores",
]
