"""Real logs: the Open Bandit Dataset of a fashion shop, from the wheel that it is published in.

Saito, Aihara, Matsutani and Narita, "Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy
Evaluation", 2020 (arXiv:2008.07146). The data is CC BY 4.0.
"""

import hashlib
import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from ruamel.yaml import YAML

from pageopt.config import ObdParams
from pageopt.contract import TABLES
from pageopt.errors import SourceError
from pageopt.sources.base import SourceReport

WHEEL = "obp-0.4.1-py3-none-any.whl"
SHA256 = "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208"
SLOTS = 3
CITE = (
    "Saito, Aihara, Matsutani, Narita: Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy "
    "Evaluation, 2020, arXiv:2008.07146. Data under CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
)

_POLICIES = {"random": "random", "bts": "thompson"}  # name in the data set → name in the contract
_PAGE_FEATURES = [f"user_feature_{i}" for i in range(4)]
_DATA = "obp/dataset/obd"
_PRIOR = "obp/policy/conf/prior_bts.yaml"
_DRAWS_AT_ONCE = 10_000


class ObdReport(SourceReport, frozen=True, kw_only=True):
    """Pages by policy, the file that was read, and the paper to cite."""

    campaign: str
    policies: dict[str, int]
    wheel: dict[str, str]
    seed: int
    cite: str


@dataclass(frozen=True)
class ObdSource:
    """One campaign's two logs, uniformly random and Bernoulli Thompson sampling (BTS), 10,000 impressions each.

    A row of the data set is one position of a page whose other positions were not published: it becomes a page with one
    observed slot. The items of the campaign are the modules, all of them candidates on every page, and item_feature_1
    is their family. Visitors are anonymous; what is known of them, user_feature_0 to _3, are page features.

    `snapshots/` holds the probabilities with which the BTS policy puts each item in each slot, which do not depend on
    the visitor; with them its value can be estimated from the random log and compared with its own log. They are those
    of the published prior, with which the policy entered the logged week; what it learned then is not published.
    """

    params: ObdParams
    external: Path
    seed: int

    def collect(self, target: Path) -> ObdReport:
        """Write the tables. Raises SourceError where the wheel is neither there nor to be had, or is another file."""
        wheel = find_wheel(self.external)
        with zipfile.ZipFile(wheel) as archive:
            items = _csv(archive, f"{_DATA}/random/{self.params.campaign}/item_context.csv")
            logs = [_log(archive, policy, self.params.campaign) for policy in _POLICIES]
            prior = _prior(archive, self.params.campaign, len(items))
        log = pd.concat(logs).sort_values(["ts", "page_id"], ignore_index=True)
        log["module_id"] = _module_ids(log["item_id"])
        modules = _modules(items)
        tables = {
            "modules": modules,
            "items": pd.DataFrame(
                {"item_id": ["home"], "title": "home", "category": "home", "brand": None, "price": 0.0}
            ),
            "pages": _pages(log, modules["module_id"].tolist()),
            "impressions": log[["page_id", "slot", "module_id", "propensity"]],
            "events": _events(log),
        }
        for name, frame in tables.items():
            _write(frame, name, target)
        probability = bts_marginals(prior, SLOTS, self.params.propensity_samples, self.seed)
        _write_snapshot(probability, target)
        return ObdReport(
            source="obd",
            rows={name: len(frame) for name, frame in tables.items()},
            first_ts=log["ts"].min().isoformat(),
            last_ts=log["ts"].max().isoformat(),
            campaign=self.params.campaign,
            policies={str(name): int(rows) for name, rows in log["policy"].value_counts().items()},
            wheel={"name": wheel.name, "sha256": SHA256},
            seed=self.seed,
            cite=CITE,
        )


@dataclass(frozen=True)
class Prior:
    """Beta distributions of the items' click rates, `[items]` each."""

    alpha: np.ndarray
    beta: np.ndarray


def bts_marginals(prior: Prior, slots: int, samples: int, seed: int) -> np.ndarray:
    """Probability `[slots, items]` that the BTS policy puts an item in a slot.

    The policy draws a click rate for each item from `prior` and shows the items with the highest ones, best first
    (Saito et al., 2020, section 3). Estimated from `samples` such pages: standard error √(p(1-p)/samples).
    """
    random = np.random.default_rng(seed)
    counts = np.zeros((slots, len(prior.alpha)))
    for start in range(0, samples, _DRAWS_AT_ONCE):
        rates = random.beta(prior.alpha, prior.beta, size=(min(_DRAWS_AT_ONCE, samples - start), len(prior.alpha)))
        ranked = np.argsort(-rates, axis=1)[:, :slots]
        for slot in range(slots):
            counts[slot] += np.bincount(ranked[:, slot], minlength=len(prior.alpha))
    return counts / samples


def find_wheel(external: Path) -> Path:
    """The wheel in folder `external`, downloaded there if it is not. Raises SourceError."""
    path = external / WHEEL
    if not path.is_file():
        _download(external)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SourceError(
            f"{path} is not the wheel obp 0.4.1 that this source knows: its SHA-256 is {digest}, not {SHA256}. "
            "Delete the file and run again to download it."
        )
    return path


def _download(external: Path) -> None:
    external.mkdir(parents=True, exist_ok=True)
    arguments = ["download", "--no-deps", "--disable-pip-version-check", "obp==0.4.1", "-d", str(external)]
    with Console(stderr=True).status("Downloading the Open Bandit Dataset (wheel obp 0.4.1, 1.3 MB)"):
        pip = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if pip.returncode != 0 or not (external / WHEEL).is_file():
        last = "\n".join(pip.stderr.strip().splitlines()[-3:])
        raise SourceError(
            f"The Open Bandit Dataset could not be downloaded to {external}:\n{last}\nWithout a connection, fetch "
            f"{WHEEL} elsewhere (pip download --no-deps obp==0.4.1) and put it there."
        )


def _csv(archive: zipfile.ZipFile, name: str, columns: list[str] | None = None) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(archive.read(name)), usecols=columns)


def _log(archive: zipfile.ZipFile, policy: str, campaign: str) -> pd.DataFrame:
    columns = ["timestamp", "item_id", "position", "click", "propensity_score", *_PAGE_FEATURES]
    rows = _csv(archive, f"{_DATA}/{policy}/{campaign}/{campaign}.csv", columns)
    rows["page_id"] = [f"{policy}-{campaign}-{i:06d}" for i in range(len(rows))]
    rows["policy"] = _POLICIES[policy]
    rows["ts"] = pd.to_datetime(rows["timestamp"], format="ISO8601", utc=True)
    return rows.rename(columns={"position": "slot", "propensity_score": "propensity"})


def _prior(archive: zipfile.ZipFile, campaign: str, items: int) -> Prior:
    content = YAML(typ="safe").load(archive.read(_PRIOR))[campaign]
    prior = Prior(np.asarray(content["alpha"]), np.asarray(content["beta"]))
    if len(prior.alpha) != items:
        raise SourceError(f"{_PRIOR} in {WHEEL} has {len(prior.alpha)} items for campaign {campaign}, not {items}.")
    return prior


def _module_ids(item_id: pd.Series) -> pd.Series:
    return item_id.map("item-{:02d}".format)


def _modules(items: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "module_id": _module_ids(items["item_id"]),
            "family": items["item_feature_1"],
            "algorithm": items["item_feature_2"],
            "theme": items["item_feature_3"],
            "recall": "zozotown",
            "item_feature_0": items["item_feature_0"],
        }
    )


def _pages(log: pd.DataFrame, modules: list[str]) -> pd.DataFrame:
    pages = log[["page_id", "ts", "policy", *_PAGE_FEATURES]].assign(
        user_id=None, platform="web", hero_item_id="home", candidates=pd.Series([modules] * len(log))
    )
    return pages[[*TABLES["pages"].names, *_PAGE_FEATURES]]


def _events(log: pd.DataFrame) -> pd.DataFrame:
    """Clicks; the data set does not say how long after the page, so they have its time."""
    clicked = log[log["click"] == 1]
    events = clicked[["ts", "page_id", "module_id", "slot"]].assign(
        event_id=clicked["page_id"] + "-click", user_id=None, kind="click", item_id=None, price=None
    )
    return events[list(TABLES["events"].names)]


def _write(frame: pd.DataFrame, name: str, target: Path) -> None:
    schema = TABLES[name].arrow_schema
    for column in frame.columns.difference(schema.names, sort=False):
        schema = schema.append(pa.field(column, pa.float64() if frame[column].dtype.kind == "f" else pa.string()))
    (target / name).mkdir(parents=True)
    pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), target / name / "part-00000.parquet")


def _write_snapshot(probability: np.ndarray, target: Path) -> None:
    slots, items = probability.shape
    slot, item = np.divmod(np.arange(slots * items), items)
    table = pa.table(
        {
            "policy": pa.array(["bts"] * len(slot)),
            "slot": pa.array(slot + 1, pa.int32()),
            "module_id": pa.array(_module_ids(pd.Series(item))),
            "probability": pa.array(probability.ravel()),
        }
    )
    (target / "snapshots").mkdir(parents=True)
    pq.write_table(table, target / "snapshots" / "part-00000.parquet")
