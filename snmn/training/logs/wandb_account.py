"""What Weights & Biases is told to do on this machine: by its own rules, read before a run begins.

Its mode comes from WANDB_MODE, from the file that `wandb offline` and its like write, or is online;
its server and the key for that from WANDB_BASE_URL, `wandb login` and WANDB_API_KEY. Whatever is
wrong with them is a LoggerError before data are loaded, rather than a traceback after.
"""

import netrc
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlparse

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment

from snmn.common.errors import UserError, shown

_WAY_OUT = "put that right, or log elsewhere with --logger csv"

# What `wandb login` wrote for the public server, whatever that is called since.
_PUBLIC = "api.wandb.ai"
_SECONDS = 10.0


class LoggerError(UserError):
    """A logger cannot be had; the message is fit for a user."""


@dataclass(frozen=True)
class WandbAccount:
    """Weights & Biases on this machine.

    - mode: online, offline (logs stay here until `wandb sync`) or disabled (nothing is logged)
    - known: whether it knows who we are
    - server: the address that logs go to
    """

    mode: str
    known: bool
    server: str

    def check_server(self) -> None:
        """Raise LoggerError if nothing answers there; wandb itself would try for 90 seconds."""
        try:
            urllib.request.urlopen(self.server, timeout=_SECONDS).close()
        except urllib.error.HTTPError:
            return  # An answer, too.
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLError):
                return  # wandb has certificates of its own.
            raise LoggerError(
                f"no answer from Weights & Biases at {self.server} ({shown(reason)}): log here "
                "with --logger csv, or with WANDB_MODE=offline, for `wandb sync` to upload later"
            ) from None


def wandb_account() -> WandbAccount:
    """What wandb's own rules come to here. Raises LoggerError for settings that it refuses."""
    import wandb

    with naming_wandb():
        settings = wandb.setup().settings
    mode = {"dryrun": "offline", "offline": "offline", "disabled": "disabled"}
    return WandbAccount(
        mode=mode.get(settings.mode, "online"),
        known=has_key(settings.base_url),
        server=settings.base_url,
    )


def has_key(server: str | None = None) -> bool:
    """Whether there is a key for a server, by its address; None for any server."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    if server is None:
        return bool(hosts)
    names = {urlparse(server).netloc}
    if not os.environ.get("WANDB_BASE_URL"):
        names.add(_PUBLIC)
    return bool(names & hosts.keys())


@contextmanager
def naming_wandb() -> Iterator[None]:
    """Turns wandb's errors into a LoggerError with a way out."""
    import wandb

    try:
        yield
    except (wandb.errors.Error, ValueError) as error:
        raise LoggerError(f"Weights & Biases: {_told(error)}; {_WAY_OUT}") from None


def _told(error: Exception) -> str:
    """One line of an error; a setting that is refused is named as its variable."""
    if not hasattr(error, "errors"):
        return shown(error)
    first = error.errors()[0]  # pydantic's
    name = "WANDB_" + "_".join(map(str, first["loc"])).upper()
    return f"{name} is {first.get('input')!r}: {first['msg']}"


class CheckedWandbLogger(WandbLogger):
    """Lightning's logger, whose run begins when training does; what goes wrong is a LoggerError."""

    @property
    @rank_zero_experiment
    def experiment(self):
        """The run."""
        with naming_wandb():
            return super().experiment
