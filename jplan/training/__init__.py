"""Training of planners: imitation, one pure step, a loop that resumes, checkpoints, measures."""

from jplan.training._averages import AverageState, keep_average
from jplan.training._checkpoint import CheckpointFolder, load, save
from jplan.training._denoising import decoder_loss, denoising_loss, inverse_loss
from jplan.training._descent_training import train_descent_heads, train_descent_planner
from jplan.training._evaluate import evaluate
from jplan.training._fit import fit
from jplan.training._hindsight import (
    HindsightBatch,
    TransitionBatch,
    hindsight_batch,
    transition_batch,
)
from jplan.training._imitation import (
    ImitationBatch,
    imitation_batch,
    imitation_loss,
    mapped_imitation_loss,
    sampled_imitation_loss,
)
from jplan.training._model_learning import model_loss
from jplan.training._offline_data import (
    OfflineData,
    from_episodes,
    load_offline_data,
    offline_data,
)
from jplan.training._planner_loss import planner_loss
from jplan.training._policies import distill_loss, imagined_loss, plan_trajectories
from jplan.training._stages import Stage, train_stages
from jplan.training._step import (
    LossFn,
    TrainState,
    init_state,
    scan_steps,
    step_keys,
    train_step,
)
from jplan.training._tables import write_table
from jplan.training._train import SCAN_STATIC, cosine_adam, train
from jplan.training._trajectories import (
    Trajectories,
    collect,
    draw_windows,
)

__all__ = [
    "SCAN_STATIC",
    "AverageState",
    "CheckpointFolder",
    "HindsightBatch",
    "ImitationBatch",
    "LossFn",
    "OfflineData",
    "Stage",
    "TrainState",
    "Trajectories",
    "TransitionBatch",
    "collect",
    "cosine_adam",
    "decoder_loss",
    "denoising_loss",
    "distill_loss",
    "draw_windows",
    "evaluate",
    "fit",
    "from_episodes",
    "hindsight_batch",
    "imagined_loss",
    "imitation_batch",
    "imitation_loss",
    "init_state",
    "inverse_loss",
    "keep_average",
    "load",
    "load_offline_data",
    "mapped_imitation_loss",
    "model_loss",
    "offline_data",
    "plan_trajectories",
    "planner_loss",
    "sampled_imitation_loss",
    "save",
    "scan_steps",
    "step_keys",
    "train",
    "train_descent_heads",
    "train_descent_planner",
    "train_stages",
    "train_step",
    "transition_batch",
    "write_table",
]
