"""Options of optimizers and learning-rate schedules. The names are torch's, the defaults the paper's."""

from __future__ import annotations

import attrs
from attrs.validators import and_, deep_iterable, ge, gt, lt, optional

from dp_core import option

_FUSED = "one kernel for the whole step, several times faster; null: where the parameters allow it"
_ENCODER_WEIGHT_DECAY = "weight_decay of the encoder, biases included; null: that of everything else"
_IS_DECAY_RATE = deep_iterable(and_(ge(0), lt(1)))


@attrs.frozen(kw_only=True)
class AdamWConfig:
    """Decoupled weight decay (Loshchilov and Hutter, ICLR 2019)."""

    lr: float = option(1e-4, help="learning rate, before the schedule", validator=ge(0))
    betas: tuple[float, float] = option(
        (0.95, 0.999), help="decay rates of the averages of gradient and squared gradient", validator=_IS_DECAY_RATE
    )
    eps: float = option(1e-8, help="added to the denominator", validator=gt(0))
    weight_decay: float = option(1e-6, help="weights shrink by lr times this at every step", validator=ge(0))
    encoder_weight_decay: float | None = option(None, help=_ENCODER_WEIGHT_DECAY, validator=optional(ge(0)))
    fused: bool | None = option(None, help=_FUSED)


@attrs.frozen(kw_only=True)
class AdamConfig:
    """Adam (Kingma and Ba, ICLR 2015)."""

    lr: float = option(1e-4, help="learning rate, before the schedule", validator=ge(0))
    betas: tuple[float, float] = option(
        (0.9, 0.999), help="decay rates of the averages of gradient and squared gradient", validator=_IS_DECAY_RATE
    )
    eps: float = option(1e-8, help="added to the denominator", validator=gt(0))
    weight_decay: float = option(0.0, help="added to the gradient, times the weight", validator=ge(0))
    encoder_weight_decay: float | None = option(None, help=_ENCODER_WEIGHT_DECAY, validator=optional(ge(0)))
    fused: bool | None = option(None, help=_FUSED)


@attrs.frozen(kw_only=True)
class SGDConfig:
    """Stochastic gradient descent."""

    lr: float = option(1e-2, help="learning rate, before the schedule", validator=ge(0))
    momentum: float = option(0.9, help="share of the last step that is repeated", validator=and_(ge(0), lt(1)))
    nesterov: bool = option(False, help="look ahead along the momentum")
    weight_decay: float = option(0.0, help="added to the gradient, times the weight", validator=ge(0))
    encoder_weight_decay: float | None = option(None, help=_ENCODER_WEIGHT_DECAY, validator=optional(ge(0)))
    fused: bool | None = option(None, help=_FUSED)


@attrs.frozen(kw_only=True)
class WarmupConfig:
    """A schedule that starts at 0 and rises in a straight line."""

    num_warmup_steps: int = option(500, help="optimizer steps until the full learning rate is reached", validator=ge(0))


@attrs.frozen(kw_only=True)
class ConstantConfig:
    """Options of a schedule that has none."""
