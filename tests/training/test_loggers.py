"""What is logged, and where it goes."""

import csv

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from snmn.common.vocabulary import MODULES
from snmn.training.logs.loggers import make_logger
from snmn.training.logs.wandb_account import LoggerError, WandbAccount, has_key
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment

STEPS = 4

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("loggers")
    return root, write_experiment(root)


def run_training(tiny, name, *more, experiment="vqa_prior"):
    root, overrides = tiny
    config = str(ROOT / "configs" / f"mini_{experiment}.yaml")
    train.main([config, *overrides, "EXP_NAME", name, *map(str, more), "-s", "3"])
    return root / "runs" / name


def logged(folder):
    """Values by name and step."""
    with (folder / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        name: {int(row["step"]): float(row[name]) for row in rows if row[name]} for name in rows[0]
    }


@pytest.fixture(scope="module")
def csv_log(tiny):
    return logged(run_training(tiny, "csv", "TRAIN.LOG_INTERVAL", 2, "--logger", "csv"))


def test_what_is_logged(csv_log):
    names = {"loss_answer", "loss_sharpen", "loss_prior", "loss", "accuracy", "entropy"}
    names |= {"learning_rate", "gradient_norm", "questions_per_second"}
    assert {name for name in csv_log if name.startswith("train/")} == {f"train/{n}" for n in names}
    for name in names:
        assert sorted(csv_log[f"train/{name}"]) == [2, 4]
    assert all(value > 0 for value in csv_log["train/gradient_norm"].values())
    assert all(value > 0 for value in csv_log["train/questions_per_second"].values())
    assert sorted(csv_log["val/answer_accuracy"]) == sorted(csv_log["val/loss_answer"]) == [2, 4]


def test_module_usage_is_a_distribution_at_each_step(csv_log):
    for step in (2, 4):
        for t in range(9):
            usage = [csv_log[f"modules/step{t}{module}"][step] for module in MODULES]
            assert sum(usage) == pytest.approx(1, abs=1e-5) and min(usage) >= 0


def test_modules_and_gradients_of_a_joint_model_by_task(tiny):
    folder = run_training(tiny, "joint", "--logger", "csv", experiment="joint_scratch")
    found = logged(folder)
    for name in ("modules/step3_And", "train/gradient_norm"):
        for task in ("vqa", "loc"):
            assert sorted(found[f"{name}_{task}"]) == list(range(1, STEPS + 1))
    assert sorted(found["train/questions_per_second"]) == list(range(1, STEPS + 1))


def test_gradients_are_measured_before_they_are_clipped(tiny, csv_log):
    options = ("TRAIN.GRAD_MAX_NORM", 1e-3, "TRAIN.LOG_INTERVAL", 1, "--logger", "csv")
    found = logged(run_training(tiny, "clipped", *options))
    assert all(value > 1e-3 for value in found["train/gradient_norm"].values())


def test_without_credentials_a_run_logs_locally_and_says_so(tiny, capsys):
    folder = run_training(tiny, "local")
    printed = capsys.readouterr().out
    assert "`wandb login` or the environment variable WANDB_API_KEY changes that" in printed
    assert f"logging to {folder}/logs/metrics.csv" in printed
    assert logged(folder)


def records(log):
    """What a file in LevelDB's log format holds, without the headers within its 32 KiB blocks."""
    payload, position, block, header = b"", 7, 32768, 7  # Seven bytes name the format.
    while position + header <= len(log):
        left = block - position % block
        if left < header:
            position += left
            continue
        length = int.from_bytes(log[position + 4 : position + 6], "little")
        payload += log[position + header : position + header + length]
        position += header + length
    return payload


@pytest.mark.slow
def test_weights_and_biases_offline(tiny, capsys, monkeypatch):
    for variable in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tiny[0] / variable))
    monkeypatch.delenv("WANDB_MODE")
    kept, log_artifact = [], wandb.Run.log_artifact

    def note(run, artifact, aliases):
        kept.append((artifact.name, aliases))
        return log_artifact(run, artifact, aliases=aliases)

    monkeypatch.setattr(wandb.Run, "log_artifact", note)
    folder = run_training(tiny, "offline", "--logger", "wandb", "--artifacts")
    printed = capsys.readouterr().out
    assert f"logging to {folder}/wandb (`wandb login` or" in printed and "wandb sync" in printed
    (run,) = (folder / "wandb").glob("offline-run-*")
    (file,) = run.glob("*.wandb")
    content = records(file.read_bytes())
    for expected in (b"snmn-pytorch", b"train/loss_answer", b"modules/step3_And", b"val/score"):
        assert expected in content
    assert kept == [("offline-checkpoint", ["last"]), ("offline-checkpoint", ["best"])]
    assert not (folder / "logs").exists()


def test_tensorboard(tiny, csv_log):
    options = ("TRAIN.LOG_INTERVAL", 2, "--logger", "tensorboard")
    folder = run_training(tiny, "board", *options)
    events = EventAccumulator(str(folder / "logs")).Reload()
    for name in ("train/loss", "val/score", "modules/step3_And"):
        found = {event.step: event.value for event in events.Scalars(name)}
        assert found == pytest.approx(csv_log[name], abs=1e-5)


def test_no_log(tiny, capsys):
    folder = run_training(tiny, "silent", "--logger", "none")
    assert "logging nothing" in capsys.readouterr().out
    assert {path.suffix for path in folder.glob("[!.]*")} == {".ckpt"}


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("tensorboard")

    monkeypatch.setattr("snmn.training.logs.loggers.TensorBoardLogger", missing)
    with pytest.raises(LoggerError, match="pip install tensorboard"):
        make_logger("tensorboard", tmp_path, name="a", project="b", config={})


def test_artifacts_need_weights_and_biases(tiny):
    with pytest.raises(LoggerError, match="add --logger wandb"):
        run_training(tiny, "artifacts", "--artifacts", "--logger", "csv")


@pytest.fixture
def wandb_here(tmp_path, monkeypatch):
    """A folder of the user's own with a key for wandb, whose server nothing answers at."""
    for variable in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    wandb.teardown()  # It keeps what it has read.
    yield tmp_path
    wandb.teardown()


def told(kind, folder):
    """What is said of a logger, and its class."""
    logger, note = make_logger(kind, folder / "run", name="a", project="p", config={})
    return type(logger).__name__, note


def test_a_key_is_one_that_wandb_keeps(tmp_path, monkeypatch):
    assert not has_key()
    file = tmp_path / "netrc"
    file.write_text(
        "machine api.wandb.ai login user password " + "0" * 40 + "\n"
        "machine localhost:8080 login user password " + "0" * 40 + "\n"
    )
    monkeypatch.setenv("NETRC", str(file))
    assert has_key() and has_key("https://api.wandb.ai") and has_key("http://localhost:8080")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_key("https://wandb.example.org")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert has_key("https://wandb.example.org")


@pytest.mark.parametrize("kind", [None, "wandb"])
@pytest.mark.parametrize("told_by", ["variable", "wandb offline"])
def test_wandb_s_own_rules_decide_on_offline(wandb_here, monkeypatch, kind, told_by):
    if told_by == "variable":
        monkeypatch.setenv("WANDB_MODE", "offline")
    else:  # What the command writes.
        (wandb_here / "wandb").mkdir()
        (wandb_here / "wandb" / "settings").write_text("[default]\nmode = offline\n")
    assert told(kind, wandb_here) == (
        "CheckedWandbLogger",
        f"logging to {wandb_here}/run/wandb; `wandb sync` uploads a run from there",
    )


def test_wandb_disabled_logs_nothing_and_says_so(wandb_here, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert told("wandb", wandb_here)[1].startswith("logging nothing: Weights & Biases is disabled")
    kind, note = told(None, wandb_here)
    assert kind == "CSVLogger"
    assert note.startswith("not on Weights & Biases, which is disabled here: logging to")


@pytest.mark.parametrize("mode", ["", "ofline", "Online"])
@pytest.mark.parametrize("kind", [None, "wandb"])
def test_a_mode_that_is_none_is_named(wandb_here, monkeypatch, kind, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(LoggerError, match=f"WANDB_MODE is '{mode}': .*'offline'.*--logger csv$"):
        told(kind, wandb_here)


@pytest.mark.parametrize("kind", [None, "wandb"])
def test_a_server_that_nothing_answers_at(wandb_here, kind):
    message = r"no answer from Weights & Biases at http://127.0.0.1:1 \(.*--logger csv, or with WAN"
    with pytest.raises(LoggerError, match=message):
        told(kind, wandb_here)


def test_what_wandb_says_as_a_run_begins_is_one_sentence(wandb_here, monkeypatch):
    def refuse(**_):
        raise wandb.errors.CommError("no such\nentity")

    monkeypatch.setenv("WANDB_MODE", "offline")
    logger, _ = make_logger("wandb", wandb_here, name="a", project="p", config={})
    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(LoggerError, match="^Weights & Biases: no such entity; .*--logger csv$"):
        logger.experiment  # noqa: B018


def test_a_disabled_run_trains_and_keeps_no_artifacts(tiny, wandb_here, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = run_training(tiny, "disabled", "--logger", "wandb", "--artifacts")
    assert "logging nothing" in capsys.readouterr().out
    assert {path.suffix for path in folder.glob("[!.]*")} == {".ckpt"}


def test_a_key_of_the_wrong_form_is_one_sentence(tiny, wandb_here, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    monkeypatch.setattr(WandbAccount, "check_server", lambda _: None)
    with pytest.raises(LoggerError, match="^Weights & Biases: .*API key.*--logger csv$"):
        run_training(tiny, "key", "--logger", "wandb")
