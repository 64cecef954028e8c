import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.index.embed import HashEmbedder
from steelyard.index.lance import LanceIndex
from steelyard.models.checkpoint import load_causal_lm
from steelyard.models.source import identity, parse_source, resolve
from steelyard.progress import Silent
from steelyard.promote.bundle import Bundle, IndexReference, PinnedModel, PromptSettings, RetrievalSettings, TaskOutput
from steelyard.promote.evidence import Evidence, record_evidence
from steelyard.promote.registry import register
from steelyard.records import Decoding, Passage
from steelyard.report import Digests
from steelyard.serving import MODEL_CODE
from steelyard.serving.opening import open_bundle
from steelyard.tracking import Tracking
from steelyard.tune.folder import adapter_digest

TINY = "random:tiny"
EMBEDDER = HashEmbedder(64)
QUESTIONS = ["When does Ubuntu 24.04 end?", "Which Debian is the newest?"]


def put_passages(folder: Path, texts: dict[str, str], *, snapshot: int, collection: str = "Passages_a") -> LanceIndex:
    """Fill, seal and publish a snapshot of one passage a document."""
    index = LanceIndex(folder, collection=collection, dimensions=EMBEDDER.dimensions)
    passages = [
        Passage(f"{name}-{snapshot}", name, 0, f"About {name}", "", text, f"file:{name}.md", snapshot)
        for name, text in texts.items()
    ]
    index.write(passages, EMBEDDER.embed([passage.text for passage in passages]))
    index.seal(snapshot, index.digest(snapshot))
    index.publish(snapshot)
    return index


def a_bundle(index_folder: Path, **changes) -> Bundle:
    """Return a bundle of the RAG arm on the random model and that index."""
    fields = {
        "name": "assistant",
        "arm": "rag",
        "base_model": PinnedModel(TINY, None, identity(parse_source(TINY), None), "float32"),
        "prompt": PromptSettings("Answer and name your source as [id].", ()),
        "decoding": Decoding(max_new_tokens=6),
        "output": TaskOutput("text"),
        "digests": Digests("w", "i", "a", None),
        "embedder": PinnedModel("hash:64", None, EMBEDDER.fingerprint, "float32"),
        "retrieval": RetrievalSettings(top_k=1, alpha=0.5),
        "index": IndexReference("lancedb", {"path": str(index_folder)}, "Passages_a", 1),
        "steelyard_version": "0.1.0",
    }
    return Bundle(**(fields | changes))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """One model cache: the random model is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def index_folder(tmp_path) -> Path:
    """Return a store with one published snapshot."""
    put_passages(tmp_path / "index", {"ubuntu": "Ubuntu 24.04 ends 2029.", "debian": "Debian 13 is new."}, snapshot=1)
    return tmp_path / "index"


def test_open_bundle_answers_from_what_is_published(index_folder, cache):
    """The champion follows the data: a newly published snapshot is read by the next question."""
    responder = open_bundle(a_bundle(index_folder), adapter_folder=None, cache=cache)
    first, second = responder.answer(QUESTIONS)
    assert (first.retrieved, second.retrieved, first.snapshot) == (("ubuntu-1",), ("debian-1",), 1)
    index = LanceIndex(index_folder, collection="Passages_a", dimensions=64)
    index.close_passages(["ubuntu-1"], 2)
    put_passages(index_folder, {"ubuntu": "Ubuntu 24.04 ends 2036."}, snapshot=2)
    (later,) = responder.answer(QUESTIONS[:1])
    assert (later.retrieved, later.snapshot) == (("ubuntu-2",), 2)


def test_open_bundle_other_collection_published_keeps_the_evaluated_snapshot(index_folder, cache):
    """A run with another embedder publishes another collection; the champion goes on with what it was judged on."""
    responder = open_bundle(a_bundle(index_folder), adapter_folder=None, cache=cache)
    put_passages(index_folder, {"ubuntu": "Something else."}, snapshot=3, collection="Passages_b")
    (reply,) = responder.answer(QUESTIONS[:1])
    assert (reply.snapshot, reply.retrieved) == (1, ("ubuntu-1",))


def test_open_bundle_nothing_published_says_so_and_makes_no_store(tmp_path, cache):
    """An index that is not where the bundle says is an error, not an empty index."""
    responder = open_bundle(a_bundle(tmp_path / "nowhere"), adapter_folder=None, cache=cache)
    with pytest.raises(DataError, match="nothing is published"):
        responder.answer(QUESTIONS)
    assert not (tmp_path / "nowhere").exists()


def test_open_bundle_another_model_behind_the_name_refused(index_folder, cache):
    """A name that stands for another model than the promoted one is not served."""
    other = PinnedModel(TINY, None, "random:tiny#version=0", "float32")
    with pytest.raises(ConfigError, match="version=0 was promoted"):
        open_bundle(a_bundle(index_folder, base_model=other), adapter_folder=None, cache=cache)


def test_open_bundle_tuned_arm_without_adapter_refused(index_folder, cache):
    """A tuned arm never answers as its base model."""
    bundle = a_bundle(index_folder, arm="hybrid", digests=Digests("w", "i", "a", "adapter"))
    with pytest.raises(DataError, match="without its adapter"):
        open_bundle(bundle, adapter_folder=None, cache=cache)


@pytest.fixture(scope="module")
def adapter_folder(cache, tmp_path_factory) -> Path:
    """Return a LoRA adapter of the random model, large enough to change what it says."""
    import torch
    from peft import LoraConfig, get_peft_model

    base = resolve(parse_source(TINY), sha256=None, cache=cache, progress=Silent())
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        adapted = get_peft_model(load_causal_lm(base, dtype="float32", device="cpu").model, config)
    folder = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(str(folder))
    return folder


def test_open_bundle_tuned_arm_answers_with_its_adapter(cache, adapter_folder, tmp_path):
    """The tuned arm says something else than its base model, and needs no index."""
    parts = {"embedder": None, "retrieval": None, "index": None}
    base = a_bundle(tmp_path, arm="base", **parts)
    tuned = a_bundle(tmp_path, arm="tuned", digests=Digests("w", "i", "a", adapter_digest(adapter_folder)), **parts)
    (plain,) = open_bundle(base, adapter_folder=None, cache=cache).answer(QUESTIONS[:1])
    (adapted,) = open_bundle(tuned, adapter_folder=adapter_folder, cache=cache).answer(QUESTIONS[:1])
    assert adapted.answer != plain.answer
    assert (adapted.arm, adapted.snapshot, adapted.retrieved) == ("tuned", None, ())


def test_open_bundle_adapter_changed_since_promotion_refused(cache, adapter_folder, tmp_path, index_folder):
    """Weights that are not those of the evidence are not served."""
    bundle = a_bundle(index_folder, arm="hybrid", digests=Digests("w", "i", "a", adapter_digest(adapter_folder)))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((adapter_folder / name).read_bytes() + b" ")
    with pytest.raises(DataError, match="was promoted"):
        open_bundle(bundle, adapter_folder=tmp_path, cache=cache)


ASK = """
import json, sys
import mlflow
import pandas as pd

def refusal(value):
    try:
        return model.predict(value) and "answered"
    except mlflow.MlflowException as error:
        return error.message

model = mlflow.pyfunc.load_model("models:/assistant@champion")
questions = json.loads(sys.argv[1])
result = {
    "list": model.predict(questions),
    "table": model.predict(pd.DataFrame({"question": questions})),
    "records": model.predict([{"question": question} for question in questions]),
    "signature": model.metadata.signature.to_dict(),
    "example": model.input_example,
    "refused": {
        "empty": refusal([]),
        "none": refusal(None),
        "number": refusal([1]),
        "gap": refusal(["What?", None]),
        "blank": refusal([" "]),
        "huge": refusal(["x" * 40_000]),
        "column": refusal(pd.DataFrame({"id": ["1"], "question": ["What?"]})),
    },
}
from mlflow.pyfunc.scoring_server import init
from starlette.testclient import TestClient
with TestClient(init(model)) as server:
    answer = server.post("/invocations", json={"inputs": questions})
    result["served"] = answer.json()["predictions"]
    answer = server.post("/invocations", json={"dataframe_records": [{"question": q} for q in questions]})
    result["served_records"] = answer.json()["predictions"]
    answer = server.post("/invocations", json={"inputs": [" "]})
    result["served_refusal"] = [answer.status_code, answer.json()["message"]]
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def tracking(tmp_path_factory) -> Tracking:
    """Register a champion beside its index and return where."""
    root = tmp_path_factory.mktemp("served")
    put_passages(root / "index", {"ubuntu": "Ubuntu 24.04 ends 2029.", "debian": "Debian 13 is new."}, snapshot=1)
    tracking = Tracking(uri=f"sqlite:///{root}/mlflow.db", experiment="assistant", artifacts=root / "artifacts")
    evidence = Evidence("e", "assistant", scorecards={}, verdicts={}, digests=Digests("w", "i", "a", None))
    register(
        a_bundle(root / "index"),
        tracking=tracking,
        run_id=record_evidence(evidence, tracking=tracking),
        alias="champion",
        model_code=MODEL_CODE,
    )
    return tracking


@pytest.fixture(scope="module")
def asked(tracking, cache, tmp_path_factory):
    """Ask the champion in a process that knows nothing but MLflow's address."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": tracking.uri, "STEELYARD_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(QUESTIONS)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # nothing else is on stdout


def test_served_model_answers_with_what_it_retrieved(asked):
    """`models:/assistant@champion` answers a list of questions in a fresh process."""
    assert [reply["retrieved"] for reply in asked["list"]] == [["ubuntu-1"], ["debian-1"]]
    assert {frozenset(reply) for reply in asked["list"]} == {
        frozenset({"answer", "citations", "arm", "snapshot", "retrieved"})
    }
    assert [(reply["arm"], reply["snapshot"]) for reply in asked["list"]] == [("rag", 1)] * 2
    assert all(reply["answer"] for reply in asked["list"])


@pytest.mark.parametrize("form", ["table", "records", "served", "served_records"])
def test_served_model_every_form_of_asking_gives_the_same(asked, form):
    """A table, records and MLflow's scoring server give what a list gives."""
    assert asked[form] == asked["list"]


def test_served_model_has_signature_and_example(asked):
    """The version says what goes in and comes out, with an example to start from."""
    assert asked["signature"]["inputs"] == '[{"type": "string", "required": true}]'
    names = [column["name"] for column in json.loads(asked["signature"]["outputs"])]
    assert names == ["answer", "citations", "arm", "snapshot", "retrieved"]
    assert asked["example"] == ["What is the latest release?"]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("empty", "only has 0 inputs"),
        ("none", "Found: NoneType"),
        ("number", "Can not safely convert int64"),
        ("gap", "question 2: expected a text, found NoneType"),
        ("blank", "question 1: the text is blank"),
        ("huge", "question 1: 40,000 characters, expected at most 32,000"),
        ("column", "first column is 'id', expected 'question'"),
    ],
)
def test_served_model_bad_input_refused_clearly(asked, case, message):
    """What cannot be asked is refused with its place and what was expected."""
    assert message in asked["refused"][case]


def test_served_model_bad_input_is_the_callers_fault_over_http(asked):
    """The scoring server answers 400 with our message, not 500 with a traceback."""
    status, message = asked["served_refusal"]
    assert status == 400
    assert "question 1: the text is blank" in message
