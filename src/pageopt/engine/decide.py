"""From a parsed request to an answer: what is missing, unknown or broken gets its documented answer here.

- unknown user: all counters 0; unknown item, category or platform: the encoder's index for the unknown; missing title
  or price: missing, as in training
- modules that the model does not know are left out, and the answer is `degraded`; repeated ones count once
- no candidates: an empty page with score 0; fewer than slots: a shorter page; field left out: all modules of the model
- the model fails, or gives numbers that are not finite: the static page, `degraded`, policy `static`, no probabilities
"""

import logging
import uuid
from collections.abc import Callable

import numpy as np

from pageopt.engine.page_engine import PageEngine
from pageopt.engine.requests import Limits
from pageopt.features.store.base import AS_IT_STANDS, UserReader
from pageopt.policies.static import static_pages
from pageopt.problems.item import Answer, Page, Shown

_log = logging.getLogger(__name__)


STATIC = "static"


class Decider:
    """Answers item pages with one model, of the name `version`, and what `users` knows of those who look at them.

    Users are read as of `clock()`, microseconds since 1970 UTC; without it as they stand, the same at any time.
    """

    def __init__(
        self, engine: PageEngine, users: UserReader, version: str, clock: Callable[[], int] = lambda: AS_IT_STANDS
    ) -> None:
        self._engine = engine
        self._users = users
        self.problem = engine.problem
        self._clock = clock
        self.version = version
        self._everything = list(range(len(engine.module_ids)))
        self._names = [engine.families[family] for family in engine.module_family.tolist()]
        self.limits = Limits(engine.slots, engine.max_candidates, self.problem.declared(engine.page_fields))

    def answer(self, page: Page) -> tuple[Answer, str | None]:
        """The answer, and why it is degraded: "unknown_modules", "model_failed", or None where it is not."""
        page_id = page.page_id or uuid.uuid4().hex
        candidates, unknown = self._resolve(page.candidates)
        reason = "unknown_modules" if unknown else None
        if not candidates:
            return Answer(page_id, [], 0.0, self._engine.policy, self.version, unknown), reason
        slots = page.slots or self._engine.slots
        try:
            modules, score = self._rank(page, candidates, slots)
        except Exception:  # whatever it is, a visitor must get a page
            _log.exception("The model could not decide page %s; the static page stands in", page_id)
            engine = self._engine
            static = static_pages(engine.static_page, np.array([candidates]), engine.module_family, slots)[0]
            modules = [self._shown(slot, module, None) for slot, module in enumerate(static[static >= 0].tolist(), 1)]
            return Answer(page_id, modules, None, STATIC, self.version, True), "model_failed"
        return Answer(page_id, modules, score, self._engine.policy, self.version, unknown), reason

    def _resolve(self, module_ids: list[str] | None) -> tuple[list[int], bool]:
        """Module indices without repetition, and whether unknown modules were left out."""
        if module_ids is None:
            return self._everything, False
        index = self._engine.module_index
        known = dict.fromkeys(index[module_id] for module_id in module_ids if module_id in index)
        return list(known), not all(module_id in index for module_id in module_ids)

    def _rank(self, page: Page, candidates: list[int], slots: int) -> tuple[list[Shown], float]:
        said = self.problem.raw(page)
        # What the request says about the user is newer than the store.
        fields = self._users.features(page.user_id, said[self.problem.category], self._clock()) | said
        decision = self._engine.rank_one(fields, candidates, slots)
        if not (np.isfinite(decision.probabilities).all() and np.isfinite(decision.score).all()):
            raise ArithmeticError("the model's output is not finite")
        shown = []
        for slot, (module, odds) in enumerate(
            zip(decision.modules[0].tolist(), decision.probabilities[0].tolist(), strict=True), start=1
        ):
            if module < 0:
                break
            shown.append(self._shown(slot, module, odds))
        if len(shown) != min(slots, len(candidates)):
            raise ArithmeticError(f"the model filled {len(shown)} of {min(slots, len(candidates))} slots")
        return shown, float(decision.score[0])

    def _shown(self, slot: int, module: int, odds: list[float] | None) -> Shown:
        click, intent, purchase = odds or (None, None, None)
        # The policy is deterministic: what it shows, it shows with certainty.
        return Shown(slot, self._engine.module_ids[module], self._names[module], click, intent, purchase, 1.0)
