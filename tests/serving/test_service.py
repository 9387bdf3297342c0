"""The endpoint as it runs: its Bento, served by BentoML's own command on loopback, talked to over HTTP."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pageopt.engine.decide import Decider
from pageopt.engine.page_engine import PageEngine
from pageopt.engine.requests import MAX_PAGE_BYTES, parse_page
from pageopt.features.store.snapshot import UserSnapshot
from pageopt.features.store.sqlite import SqliteUserStore
from pageopt.release import bento as bentos
from pageopt.release.gates.load import drive
from pageopt.release.registry import Version
from pageopt.workspace import Workspace

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "pandas",
    "mlflow",
    "prefect",
    "evidently",
    "pyarrow",
    "ibis",
    "scipy",
    "duckdb",
    "sklearn",
    "xgboost",
)


def now() -> int:
    return time.time_ns() // 1000


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAGEOPT_", "BENTOML_"))}
    return {
        **kept,
        "BENTOML_HOME": ".pageopt/bentoml",
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONWARNINGS": "ignore",
        **more,
    }


@pytest.fixture(scope="session")
def project(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a project whose champion, version 12, is the bundle."""
    root = tmp_path_factory.mktemp("project")
    for name in ("bentofile.yaml", "serving.lock"):
        shutil.copyfile(ROOT / name, root / name)
    champion = Version(12, "run", "0123456789abcdef", None, None, datetime.now(UTC), bundle)
    bentos.expose(Workspace(root), champion)
    return root


@pytest.fixture(scope="session")
def bento(project: Path) -> Path:
    """The folder of the champion's Bento."""
    return project / ".pageopt" / "bentoml" / "bentos" / "page-optimizer" / "v12-01234567"


@dataclass(frozen=True)
class Served:
    url: str
    folder: Path
    process: subprocess.Popen[bytes]


def serve(project: Path, log: Path, port: int, **more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bentoml", "serve", "page-optimizer:latest", "--port", str(port)]
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=project,
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def served(project: Path) -> Iterator[Served]:
    port, log = bentos.free_port(), project / "log.txt"
    process = serve(project, log, port, PAGEOPT_SERVED="served.sqlite")
    url = f"http://127.0.0.1:{port}"
    try:
        bentos.wait_until_ready(process, url, log)
        yield Served(url, project, process)
    finally:
        end(process)


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client:
        yield client


def test_a_page_over_http_is_the_page_of_the_bundle(client: httpx.Client, bundle: Path, page: Any) -> None:
    decider = Decider(PageEngine(bundle), UserSnapshot(bundle / "users.sqlite"), "12", now)
    for changes in (
        {},
        {"user_id": "u1"},
        {"user_id": "nobody"},
        {"candidates": ["m4", "m1", "m7"], "slots": 2},
        {"hero_item": {"item_id": "new", "category": "new"}},
        {"features": {"season": "web", "age": 3}},
    ):
        content = page(**changes)
        response = client.post("/rank_page", json=content)
        expected, _ = decider.answer(parse_page(json.dumps(content).encode(), decider.limits))
        answer = response.json()
        assert response.status_code == 200
        assert [shown["module_id"] for shown in answer["modules"]] == [shown.module_id for shown in expected.modules]
        assert answer["page_score"] == pytest.approx(expected.page_score)
        assert (answer["model_version"], answer["policy"], answer["degraded"]) == ("12", "trnn", False)


def test_the_page_of_the_api_and_its_document_are_bentomls(client: httpx.Client, bento: Path) -> None:
    assert "swagger-ui" in client.get("/").text
    document = client.get("/docs.json").json()
    assert {"/rank_page", "/record_events", "/readyz"} <= set(document["paths"])
    assert document["info"]["version"] == "v12-01234567"
    assert document["components"]["schemas"]["Page"]["properties"]["slots"]["anyOf"][0]["maximum"] == 4
    assert "/rank_page:" in (bento / "apis" / "openapi.yaml").read_text()


def test_schemathesis_gets_no_answer_that_the_document_does_not_tell(served: Served, tmp_path: Path) -> None:
    """Neither for bodies that keep the schemas nor for those that break them."""
    settings = Path(__file__).with_name("schemathesis.toml")
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", settings, "run"]
    options = ["--include-method", "POST", "--max-examples", "40", "--generation-deterministic", "--no-color"]
    done = subprocess.run(
        [*command, f"{served.url}/docs.json", *options],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 2" in done.stdout


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health_is_bentomls(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_metrics_hold_ours_and_bentomls(client: httpx.Client, page: Any) -> None:
    client.post("/rank_page", json=page(candidates=["new"]))
    text = client.get("/metrics").text
    assert 'pageopt_decisions_total{model_version="12",policy="trnn"}' in text
    assert 'pageopt_degraded_total{reason="unknown_modules"}' in text
    assert "pageopt_decision_seconds_bucket" in text
    assert "bentoml_service_request_total" in text


def test_errors_are_ours_on_the_wire(client: httpx.Client, page: Any) -> None:
    wrong = client.post("/rank_page", content=b'{"page": {"hero_item": {"price": NaN}}}')
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (400, "page.hero_item.price")
    assert client.get("/rank_page").status_code == 405
    assert client.get("/nothing").json()["error"]["fix"] == "POST to /rank_page."
    assert client.post("/rank_page/", json=page()).status_code == 404


def test_large_bodies_are_refused_whatever_their_framing(client: httpx.Client) -> None:
    declared = client.post("/rank_page", content=b" " * (MAX_PAGE_BYTES + 1))
    assert declared.status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(8):
            yield b" " * (MAX_PAGE_BYTES // 4)

    assert client.post("/rank_page", content=chunks()).status_code == 413


def test_events_are_kept_below_the_folder_the_server_was_started_in(client: httpx.Client, served: Served) -> None:
    event = {"event_id": "told", "ts": "2026-01-02T03:04:05Z", "kind": "click", "page_id": "p1", "module_id": "m1"}
    receipt = client.post("/record_events", json={"events": [event, event, {"event_id": "half"}]}).json()
    assert (receipt["accepted"], receipt["duplicates"]) == (1, 1)
    assert receipt["quarantined"][0]["event_id"] == "half"
    with closing(sqlite3.connect(served.folder / ".pageopt" / "events.sqlite")) as db:
        assert db.execute("SELECT kind FROM events WHERE event_id = 'told'").fetchall() == [("click",)]


def test_an_event_changes_the_next_page_of_its_user_and_of_nobody_else(
    client: httpx.Client, served: Served, bundle: Path, page: Any
) -> None:
    def score(user_id: str) -> float:
        answer = client.post("/rank_page", json=page(user_id=user_id, page_id=...)).json()
        return sum(module["p_click"] for module in answer["modules"])

    before, other = score("fresh"), score("another")
    assert before == other
    users = SqliteUserStore(served.folder / ".pageopt" / "events.sqlite", UserSnapshot(bundle / "users.sqlite"))
    deadline = time.monotonic() + 30
    while not all(users.features(who, "shoes", now())["user_view_24h"] for who in ("fresh", "another")):
        assert time.monotonic() < deadline, "the pages were not counted as shown"
        time.sleep(0.05)
    click = {"kind": "click", "user_id": "fresh", "page_id": "p1", "module_id": "m1", "item_id": "i1"}
    events = [{**click, "event_id": f"fresh-{number}", "ts": now() - number * 1_000_000} for number in (1, 2, 3)]
    receipt = client.post("/record_events", json={"events": events}).json()
    assert receipt == {"accepted": 3, "duplicates": 0, "quarantined": []}
    after = score("fresh")
    assert abs(after - before) > 1e-4
    assert abs(after - score("another")) > 1e-4
    assert users.features("fresh", "shoes", now())["user_click_24h"] == pytest.approx(3, rel=1e-2)
    assert users.features("another", "shoes", now())["user_click_24h"] == 0
    decider = Decider(PageEngine(bundle), users, "12", now)
    expected, _ = decider.answer(parse_page(json.dumps(page(user_id="fresh")).encode(), decider.limits))
    assert after == pytest.approx(sum(module.p_click or 0 for module in expected.modules), rel=1e-2)


def test_decided_pages_are_kept_where_a_file_is_named(client: httpx.Client, served: Served, page: Any) -> None:
    answer = client.post("/rank_page", json=page(page_id="kept", candidates=["m4", "m1"])).json()
    query = "SELECT candidates, modules, model_version FROM served WHERE page_id = 'kept'"
    deadline = time.monotonic() + 30
    rows: list[tuple[Any, ...]] = []
    while not rows and time.monotonic() < deadline:
        time.sleep(0.05)
        with closing(sqlite3.connect(served.folder / "served.sqlite", timeout=5)) as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'served'").fetchone():
                rows = db.execute(query).fetchall()
    shown = [module["module_id"] for module in answer["modules"]]
    assert [(json.loads(a), json.loads(b), c) for a, b, c in rows] == [(["m4", "m1"], shown, "12")]


def test_load_gets_only_answers(served: Served, page: Any) -> None:
    bodies = [json.dumps(page(user_id=user)).encode() for user in ("u1", "nobody")]
    result = drive(f"{served.url}/rank_page", bodies, seconds=1, concurrency=4)
    assert result.errors == 0
    assert set(result.statuses) == {200}
    assert result.requests > 20


def test_it_listens_on_loopback_only(served: Served) -> None:
    port = int(served.url.rsplit(":", 1)[1])
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 0A " in line]
    assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_a_broken_bundle_ends_the_server_with_one_line(project: Path, bundle: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (broken / "page.onnx").write_bytes(b"nothing")
    log = tmp_path / "log.txt"
    process = serve(project, log, bentos.free_port(), PAGEOPT_BUNDLE=str(broken))
    try:
        assert process.wait(timeout=120) == 1
    finally:
        end(process)
    said = [line for line in log.read_text().splitlines() if "[INFO]" not in line]
    assert len(said) == 1
    assert said[0].startswith(f"pageopt: {broken / 'page.onnx'} cannot be loaded")


def test_it_imports_nothing_heavy(bento: Path) -> None:
    """In a process that imports the service as a worker does and answers one request."""
    script = f"""
import json, sys
sys.path.insert(0, {str(bento / "src")!r})
from pageopt.serving import service
import pageopt
assert pageopt.__file__.startswith({str(bento)!r}), pageopt.__file__
from starlette.testclient import TestClient
application = service.PageService.to_asgi()
service.PageService()
page = {{"platform": "web", "user_id": "u1", "hero_item": {{"item_id": "i", "category": "shoes"}}}}
with TestClient(application) as client:
    answer = client.post("/rank_page", json={{"page": page}})
assert answer.status_code == 200 and len(answer.json()["modules"]) == 4, answer.text
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded & set(HEAVY) == set()
    assert {"bentoml", "onnxruntime", "msgspec"} <= loaded
