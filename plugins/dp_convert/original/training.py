"""Reads how the original trained: optimizer, schedule, averages, loop."""

from __future__ import annotations

from typing import Any

from dp_convert.block import Block

_LOOP = (
    "seed", "num_epochs", "gradient_accumulate_every", "rollout_every", "checkpoint_every", "val_every", "sample_every",
    "max_train_steps", "max_val_steps",
)  # fmt: skip
_SCHEDULES = {
    "cosine": "cosine",
    "linear": "linear",
    "constant_with_warmup": "constant_with_warmup",
    "constant": "constant",
}


def read_training(top: Block, notes: list[str]) -> dict[str, Any]:
    """Read the blocks ``training``, ``ema``, ``optimizer``, ``lr_schedule`` and those of the loaders."""
    training = top.block("training")
    ema = top.block("ema")
    options = {name: training.take(name) for name in _LOOP if name in ("seed", "num_epochs")}
    for name in _LOOP[2:]:
        if (value := training.take(name, None)) is not None:
            options[name] = value
    use_ema = training.take("use_ema", False)
    schedule = training.take("lr_scheduler", "constant")
    warmup = training.take("lr_warmup_steps", 0)
    # The device is this machine's business; freeze_encoder is the encoder's.
    training.ignore("device", "debug", "resume", "tqdm_interval_sec", "freeze_encoder")
    training.finish()
    return {
        "training": options,
        "ema": _ema(ema) if use_ema else None,
        "optimizer": _optimizer(top.block("optimizer")),
        "lr_schedule": _schedule(str(schedule), warmup, notes),
        "dataloader": _loader(top.block("dataloader"), {"batch_size": 64, "drop_last": False}),
        "val_dataloader": _loader(top.block("val_dataloader"), {"batch_size": 64}),
    }


def _ema(ema: Block) -> dict[str, Any]:
    ema.ignore("_target_")
    # The original's default, 2/3, differs from ours.
    defaults = {"update_after_step": 0, "inv_gamma": 1.0, "power": 2 / 3, "min_value": 0.0, "max_value": 0.9999}
    block = {name: ema.take(name, default) for name, default in defaults.items()}
    ema.finish()
    return block


def _optimizer(optimizer: Block) -> dict[str, Any]:
    target = optimizer.target()
    if target == "Adam":
        block: dict[str, Any] = {
            "name": "adam",
            "lr": optimizer.take("lr", 1e-3),
            "betas": optimizer.take("betas", [0.9, 0.999]),
            "weight_decay": optimizer.take("weight_decay", 0.0),
        }
    elif target in ("AdamW", ""):
        # Without a class: the arguments of a transformer policy's get_optimizer.
        decay = optimizer.take("transformer_weight_decay", None)
        block = {
            "name": "adamw",
            "lr": optimizer.take("learning_rate", None) or optimizer.take("lr", 1e-4 if target == "" else 1e-3),
            "betas": optimizer.take("betas", [0.9, 0.95] if target == "" else [0.9, 0.999]),
            "weight_decay": decay if decay is not None else optimizer.take("weight_decay", 1e-2 if target else 1e-3),
        }
        if (encoder_decay := optimizer.take("obs_encoder_weight_decay", None)) is not None:
            block["encoder_weight_decay"] = encoder_decay
    else:
        optimizer.fail("_target_", f"'{target}' has no counterpart here; expected AdamW or Adam")
        return {}
    block["eps"] = optimizer.take("eps", 1e-8)
    optimizer.finish()
    return block


def _schedule(name: str, warmup: int, notes: list[str]) -> dict[str, Any]:
    if name not in _SCHEDULES:
        notes.append(f"the learning-rate schedule '{name}' has no counterpart here; 'lr_schedule' is cosine")
        name = "cosine"
    return {"name": name} if name == "constant" else {"name": name, "num_warmup_steps": warmup}


def _loader(loader: Block, defaults: dict[str, Any]) -> dict[str, Any]:
    # How batches are loaded is this machine's business; shuffling is not an option here, nor is validation on a part.
    block = {name: loader.take(name, default) for name, default in defaults.items()}
    loader.ignore("num_workers", "shuffle", "pin_memory", "persistent_workers", "drop_last")
    loader.finish()
    return block
