"""From files to verdicts: each function loads what one gate needs and lets it judge."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pageopt.check.findings import CheckReport, Shape
from pageopt.config import CheckParams, EvaluateParams, GatesParams, SearchParams, load
from pageopt.engine.bundle import Bundle
from pageopt.engine.decide import Decider
from pageopt.engine.page_engine import PageEngine
from pageopt.errors import EvaluationError, NotComparableError, ReleaseError
from pageopt.evaluation.compare import LoggedPages
from pageopt.evaluation.figures import Evaluation
from pageopt.evaluation.reward_model import RewardModel
from pageopt.features.encoder import Encoder
from pageopt.features.pages import load_pages
from pageopt.features.prepared import Schema
from pageopt.features.store.base import UserReader
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.policies.decision import Decision
from pageopt.policies.static import static_pages
from pageopt.release.gates import data as data_gate
from pageopt.release.gates import drift as drift_gate
from pageopt.release.gates import drift_report, smoke
from pageopt.release.gates import latency as latency_gate
from pageopt.release.gates import parity as parity_gate
from pageopt.release.gates import quality as quality_gate
from pageopt.release.gates.champion import Champion
from pageopt.release.gates.quality import Comparison
from pageopt.release.gates.simulated import SimulatedPages
from pageopt.release.gates.verdict import Check, Verdict
from pageopt.release.registry import Version
from pageopt.release.report import Exposure
from pageopt.workspace import Workspace

_REFERENCE_PAGES = 40
_SMOKE_PAGES = 25


@dataclass
class Judge:
    """Judges the candidate in a workspace against a champion, if there is one. Loads things once, when asked for."""

    workspace: Workspace
    champion_version: Version | None
    best_version: Version | None = None  # of some time, where that is another than the champion

    @cached_property
    def limits(self) -> GatesParams:
        """The gates' limits."""
        return load(self.workspace.params, GatesParams)

    @cached_property
    def engine(self) -> PageEngine:
        """The candidate."""
        return PageEngine(self.workspace.bundle)

    @cached_property
    def users(self) -> UserReader:
        """What the candidate knows of users."""
        return UserSnapshot(self.workspace.bundle / "users.sqlite")

    @cached_property
    def pages(self) -> SimulatedPages:
        """The simulated pages."""
        return SimulatedPages.load(self.workspace.simulated)

    @cached_property
    def _champion(self) -> Champion | str:
        """The champion, or why there is none to compare with."""
        return self._loaded("champion", self.champion_version) if self.champion_version else "no champion"

    @cached_property
    def _best(self) -> Champion | str:
        """The best version of some time, why it cannot be compared with, or nothing where the champion is that."""
        return self._loaded("version", self.best_version) if self.best_version else ""

    def _loaded(self, title: str, version: Version) -> Champion | str:
        try:
            return Champion.load(version.number, version.folder, self.engine.module_ids)
        except NotComparableError as error:
            return f"{title} {version.number} cannot be compared: {error}"

    @property
    def champion(self) -> Champion | None:
        """The champion, where there is one that can be compared."""
        return None if isinstance(self._champion, str) else self._champion

    @property
    def no_champion(self) -> str:
        """Why there is no champion to compare with."""
        return self._champion if isinstance(self._champion, str) else ""

    @cached_property
    def decision(self) -> Decision:
        """The candidate's simulated pages."""
        return self.engine.rank_batch(self.pages.fields, self.pages.candidates)

    @cached_property
    def champion_decision(self) -> Decision | None:
        """The champion's simulated pages."""
        if self.champion is None:
            return None
        return self.champion.decide(self.pages.fields, self.pages.candidates, self.engine.slots)

    def data(self) -> Verdict:
        """Contract, volume, freshness."""
        schema = Schema.read(self.workspace.prepared / "schema.json")
        shape = Shape.read(self.workspace.checked / "shape.json")
        return data_gate.judge(
            bad_share=CheckReport.read(self.workspace.reports / "check.json").bad_share,
            max_bad_share=load(self.workspace.params, CheckParams).max_bad_share,
            pages=sum(schema.pages.values()),
            clicks=sum(schema.clicks.values()),
            last_page=_utc(shape.last_page_ts),
            last_event=_utc(shape.last_event_ts),
            now=datetime.now(UTC),
            limits=self.limits.data,
        )

    def quality(self) -> Verdict:
        """What the candidate's pages would earn beside the static page's and the champion's, on the test split."""
        params = load(self.workspace.params, EvaluateParams)
        encoder = Encoder.load(self.workspace.prepared / "encoder")
        test = load_pages(self.workspace.prepared / "test", encoder)
        rewards = RewardModel.load(self.workspace.reward_model, threads=params.threads)
        limits = self.limits.quality
        bought = Schema.read(self.workspace.prepared / "schema.json").has_purchase
        if test.candidates is None:
            raise ReleaseError(f"{self.workspace.prepared / 'test'} holds no candidates. Run stage prepare again.")
        try:
            logged = LoggedPages(test, rewards, params, self.workspace.reward_model)
        except EvaluationError as error:
            return Verdict.of("quality", [Check("evidence", False, None, None, f"not enough evidence: {error}")])
        fields = {name: column[logged.rows] for name, column in test.fields.items()}
        candidates = test.candidates[logged.rows]
        threads = params.threads
        decided = logged.decided(
            self.engine.graph, candidates, lambda: self.engine.rank_batch(fields, candidates, threads=threads).modules
        )
        candidate = logged.value(decided)

        def against(modules: NDArray[np.int64], than: str, bars: dict[str, quality_gate.Limit]) -> list[Comparison]:
            asked = bars if bought else {"CTR": bars["CTR"]}
            return quality_gate.comparisons(candidate, logged.value(modules), than, asked, params)

        static = static_pages(self.engine.static_page, candidates, self.engine.module_family, self.engine.slots)
        compared = against(static, "the static page", quality_gate.over_static(limits))
        for title, champion in (("champion", self._champion), ("best version", self._best)):
            if isinstance(champion, Champion):
                before = champion.decide(fields, candidates, self.engine.slots, threads).modules
                compared += against(before, f"{title} {champion.number}", quality_gate.over_champion(limits))
            elif champion:
                compared.append(Comparison(title, None, None, len(logged), why_not=champion))
        trusted = Evaluation.read(self.workspace.reports / "evaluation.json").page_model
        return quality_gate.judge(compared, trusted)

    def parity(self) -> Verdict:
        """The exported graph against the trained model."""
        from pageopt.models.item.network import load_network
        from pageopt.search.graph import PageGraph, decide

        search = Bundle.read(self.workspace.bundle / "bundle.json")
        encoder = Encoder.load(self.workspace.prepared / "encoder")
        encoded = encoder.encode(self.pages.fields)
        model = load_network(self.workspace.model)
        options = SearchParams(width=search.width, beam_start=search.beam_start, objective=search.objective)
        expected = decide(PageGraph(model, options), encoded, self.pages.candidates)
        family = np.asarray(encoder.module_family)

        def gap(page: int) -> float:
            offered = self.pages.candidates[page][self.pages.candidates[page] >= 0]
            step = parity_gate.scorer(model, encoded, page, offered, search.objective)
            return parity_gate.reference(step, family[offered], search)[1]

        some = parity_gate.spread(self.pages.counts, _REFERENCE_PAGES)
        beam = parity_gate.agreement_with_reference(
            model, encoded, self.pages.candidates, family, self.decision, some, search
        )
        agreement = parity_gate.compare(expected, self.decision, gap)
        return parity_gate.judge(agreement, beam, self.pages.counts, self.limits.parity)

    def latency(self) -> Verdict:
        """Time of one decision in this process."""
        times = latency_gate.measure(
            self.engine, self.champion, self.pages.fields, self.pages.candidates, self.limits.latency
        )
        return latency_gate.judge(times, self.limits.latency, self.no_champion)

    def drift(self) -> Verdict:
        """Scores and exposure beside the champion's; writes reports/drift.html where there is one."""
        page = self.workspace.reports / "drift.html"
        page.unlink(missing_ok=True)
        if self.champion_decision is None:
            return drift_gate.no_champion(self.no_champion)
        names = np.array(self.engine.families, dtype=object)[self.engine.module_family]
        drift_report.write(page, self.decision, self.champion_decision, names)
        return drift_gate.judge(
            self.decision,
            self.champion_decision,
            self.engine.module_family,
            len(self.engine.families),
            self.limits.drift,
        )

    def example(self) -> dict[str, Any]:
        """The first simulated page, as a request holds it."""
        body = smoke.bodies(self.pages, self.engine, np.arange(1))[0]
        return json.loads(body)["page"]

    def bento(self, url: str, version: str) -> list[Verdict]:
        """Smoke test and latency over HTTP of the Bento that serves this bundle at `url`."""
        some = parity_gate.spread(self.pages.counts, _SMOKE_PAGES)
        decider = Decider(self.engine, self.users, version)
        tried = smoke.judge(url, decider, smoke.bodies(self.pages, self.engine, some))
        if not tried.passed:
            return [tried]
        limits = self.limits.latency
        largest = np.flatnonzero(self.pages.counts == self.pages.counts.max())
        bodies = smoke.bodies(self.pages, self.engine, largest[:200])
        return [tried, latency_gate.judge_http(latency_gate.measure_http(f"{url}/rank_page", bodies, limits), limits)]

    def exposure(self) -> Exposure:
        """Families by slot of candidate and champion."""
        deciders = {"candidate": self.decision}
        if self.champion and self.champion_decision:
            deciders[f"champion (version {self.champion.number})"] = self.champion_decision
        counts = {
            name: drift_gate.exposure(decision.modules, self.engine.module_family, len(self.engine.families))
            for name, decision in deciders.items()
        }
        return Exposure(self.engine.families, counts)


def _utc(text: str | None) -> datetime:
    if text is None:
        raise ReleaseError("The checked log has no page, or no event: nothing can be judged. Collect more logs.")
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
