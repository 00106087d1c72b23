"""The GANs that `sparsify.py` makes sparse, and the ways to zeros as flags of `l1jax.train`."""

from collections.abc import Callable
from typing import NamedTuple

from flow_sparsity_methods import share_of_channels

RAMP = 0.5  # of the steps, after which the share of zeros is reached
FREEZE = 0.6  # of the steps, after which zeros stay
RIGL_STOP = 0.75  # of the steps, after which RigL's mask stays
PRUNINGS = 30  # choices of the zeros while they become more


class Subject(NamedTuple):
    """A GAN; its kernel entries are counted by how many of their sides are hidden channels."""

    config: str  # its experiment
    flags: tuple[str, ...]  # of all its runs
    reads_hidden: str  # the kernels that read hidden channels
    once: int  # entries with a hidden channel on one side
    twice: int  # and on both
    of_channels: tuple[str, float]  # penalty of whole channels, and the strength it begins with

    @property
    def outer(self) -> float:
        """Share of the entries with a hidden channel on one side only."""
        return self.once / (self.once + self.twice)


SUBJECTS = {
    "digits": Subject(
        "digits",
        ("--ema-half-life", "10000"),
        "(hidden_1|image)/kernel$",
        once=(64 + 64) * 256,
        twice=256 * 256,
        of_channels=("group-mcp", 1e-5),
    ),
    "mnist": Subject(
        "mnist",
        (),
        "(deconv_1|image)/kernel$",
        once=64 * 7 * 7 * 64 + 4 * 4 * 32,
        twice=4 * 4 * 64 * 32,
        of_channels=("group-l0", 1e-3),
    ),
}


def penalised(steps: int, penalty: str, share: float, strength: float = 1e-5) -> list[str]:
    """Return the flags of a penalty that reaches a share slowly, and is then removed.

    Args:
        steps: of training.
        penalty: its name.
        share: of zeros.
        strength: that it begins with.
    """
    return (
        f"--generator.penalty {penalty} --generator.penalty.strength {strength:g} "
        f"--generator.sparsity-target {share} "
        f"--generator.strength-schedule.warmup {round(RAMP * steps)} "
        f"--generator.debias-after {round(FREEZE * steps)}"
    ).split()


def channels(subject: Subject, steps: int, share: float) -> list[str]:
    """Return the flags of a penalty of what the next layer reads from each hidden channel.

    Args:
        subject: the GAN.
        steps: of training.
        share: of the kernels' entries that go with the channels.
    """
    flags = (
        f"--generator.penalty.groups input_channels --generator.penalised {subject.reads_hidden} "
        "--generator.sparsity-scope leaf --generator.per-group"
    )
    of_channels = round(share_of_channels(share, subject.outer), 4)
    penalty, strength = subject.of_channels
    return [*penalised(steps, penalty, of_channels, strength), *flags.split()]


def pruned(steps: int, method: str, ramp: float, share: float) -> list[str]:
    """Return the flags of a method that prunes."""
    end = round(ramp * steps)
    return (
        f"--generator.method {method} --generator.penalty.strength 0 "
        f"--generator.sparsity-target {share} --generator.pruning.steps {end} "
        f"--generator.pruning.every {max(1, end // PRUNINGS)}"
    ).split()


class Method(NamedTuple):
    """One way to zeros."""

    continues: bool  # from the dense run
    flags: Callable[[Subject, int, float], list[str]]  # (subject, steps, share of zeros) → flags


METHODS = {
    "L0 from the dense run": Method(
        True, lambda subject, steps, share: penalised(steps, "l0", share)
    ),
    "magnitude pruning from the dense run": Method(
        True, lambda subject, steps, share: pruned(steps, "magnitude", RAMP, share)
    ),
    "L0 from the start": Method(False, lambda subject, steps, share: penalised(steps, "l0", share)),
    "RigL from the start": Method(
        False, lambda subject, steps, share: pruned(steps, "rigl", RIGL_STOP, share)
    ),
    "L1 from the dense run": Method(
        True, lambda subject, steps, share: penalised(steps, "l1", share)
    ),
    "channels from the dense run": Method(True, channels),
}
