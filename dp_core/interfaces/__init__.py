"""The contracts between the parts, one abstract class each.

Shapes, everywhere in this project: ``B`` batch, ``To`` n_obs_steps, ``Tp`` horizon, ``Ta`` n_action_steps,
``Do`` size of an observation feature, ``Da`` size of an action, ``C H W`` image.

``shape_meta`` describes what a task observes and does, as plain containers::

    {"obs": {"image": {"shape": [3, 96, 96], "type": "rgb"}, "agent_pos": {"shape": [2], "type": "low_dim"}},
     "action": {"shape": [2]}}

``type`` names a component of the kind ``modality``; its options stand beside it. ``when: episode`` marks what is
observed once in an episode, a goal for example. All other entries are annotations, for those who know them.

A component is constructed as ``Target(config, **runtime)``. The keywords, per kind:

===========  ==========================================================================================
policy       ``shape_meta``
encoder      ``shape_meta``; one that sees windows also ``n_obs_steps``
denoiser     ``input_dim, horizon, n_obs_steps, global_cond_dim, local_cond_dim``; one that takes tokens also
             ``token_dim, n_tokens``, one that takes a second time ``has_end_timestep``, where they are given
scheduler    (none)
modality     ``shape``
dataset      ``shape_meta``
runner       ``shape_meta, output_dir``
optimizer    ``policy``; returns a `torch.optim.Optimizer`
lr_schedule  ``optimizer, num_training_steps``; returns a `torch.optim.lr_scheduler.LRScheduler`
callback     (none)
workspace    ``output_dir``
===========  ==========================================================================================
"""

from dp_core.interfaces.callback import BaseCallback
from dp_core.interfaces.dataset import BaseDataset
from dp_core.interfaces.denoiser import BaseDenoiser
from dp_core.interfaces.encoder import BaseEncoder
from dp_core.interfaces.modality import BaseModality, modality_of
from dp_core.interfaces.module import ModuleAttrMixin
from dp_core.interfaces.noise import Generators, draw_noise
from dp_core.interfaces.policy import BasePolicy
from dp_core.interfaces.runner import BaseRunner
from dp_core.interfaces.scheduler import BaseScheduler, Inpaint
from dp_core.interfaces.workspace import RunProgress, Workspace

__all__ = [
    "BaseCallback",
    "BaseDataset",
    "BaseDenoiser",
    "BaseEncoder",
    "BaseModality",
    "BasePolicy",
    "BaseRunner",
    "BaseScheduler",
    "Generators",
    "Inpaint",
    "ModuleAttrMixin",
    "RunProgress",
    "Workspace",
    "draw_noise",
    "modality_of",
]
