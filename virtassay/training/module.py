"""The LightningModule: wiring only. Minibatch → source, coupling, path, network → loss; and the validation of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn

from virtassay.data.loading.normalisation import Normalisation, flip
from virtassay.flow.coupling import Coupling, transport_ratio
from virtassay.flow.objective import Objective, squared_error
from virtassay.flow.path import interpolate
from virtassay.flow.source import Source
from virtassay.flow.time import TimeLaw, uniform_grid
from virtassay.flow.velocity import curvature
from virtassay.networks.condition import ConditionEncoder
from virtassay.schema import Condition, Minibatch
from virtassay.training.condition_use import ConditionUse, partner, swap_perturbation, treatments, warn_if_ignored


class NonFiniteLoss(RuntimeError):
    """Training met a NaN or an infinity; the message names the step, the images and the checkpoint to go back to."""


class FlowTraining(lightning.LightningModule):
    """Fit a network to the velocity of a flow.

    optimizer: takes the named parameters. seed: every random number of a step is drawn from (seed, step, rank), so
    that a resumed run repeats what an unbroken one does. dequantise_width: on the [−1, 1] scale.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        normalisation: Normalisation,
        source: Source,
        coupling: Coupling,
        objective: Objective,
        time_law: TimeLaw,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        dequantise_width: float = 0.0,
        warmup_steps: int = 0,
        decay: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.normalisation = network, normalisation
        self.source, self.coupling, self.objective, self.time_law = source, coupling, objective, time_law
        self.encoder = cast(ConditionEncoder, network.condition)
        self.make_optimizer = optimizer
        self.dequantise_width, self.warmup_steps, self.decay, self.seed = dequantise_width, warmup_steps, decay, seed
        self.condition_use = ConditionUse()

    def configure_optimizers(self) -> Any:
        trained = [(name, weight) for name, weight in self.network.named_parameters() if weight.requires_grad]
        optimizer = self.make_optimizer(trained)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate_factor(self, step: int) -> float:
        """Factor of the learning rate: min(1, (step + 1) / warm-up), and with `decay` down to 0 in a straight line."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        total = self.trainer.max_steps
        return warm * max(0.0, 1 - step / total) if self.decay and total > 0 else warm

    def on_train_batch_start(self, batch: Minibatch, batch_idx: int) -> None:
        # One seed for noise, times, flips, nulls and the network's dropout. batch_idx tells micro-steps apart.
        micro = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(hash((self.seed, self.global_step, micro, self.global_rank)) & 0x7FFFFFFFFFFFFFFF)

    def training_step(self, batch: Minibatch, batch_idx: int) -> Tensor:
        scale = self.normalisation.take(batch.condition.stain)
        width = 0.0 if batch.target.is_floating_point() else self.dequantise_width  # vectors have no steps to hide
        target = flip(scale.dequantise(scale.to_model(batch.target), width))
        noise = torch.randn_like(target)
        control = None if batch.control is None else flip(scale.to_model(batch.control))
        source = self.source(noise, control, torch.rand(len(target), device=target.device))
        source = source[self.coupling(source, target, batch.group, batch.condition)]
        t = self.time_law(len(target), target.device)
        condition = self.encoder.drop(self._condition(batch))
        loss = self.objective(self.network, source, target, t, condition).mean()
        if not torch.isfinite(loss):
            self._stop_on_non_finite(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def _condition(self, batch: Minibatch) -> Condition:
        """Give the condition its control images, scaled as the network sees images."""
        if batch.control_set is None:
            return batch.condition
        return replace(batch.condition, control_set=self.normalisation.to_model(batch.control_set))

    def _stop_on_non_finite(self, batch: Minibatch) -> None:
        ids = getattr(self.trainer, "datamodule").image_ids(batch.row)  # noqa: B009  # Lightning sets it, untyped
        checkpoint = self.trainer.checkpoint_callback
        back = getattr(checkpoint, "path", None)
        raise NonFiniteLoss(
            f"the loss is not finite at step {self.global_step}. Images of this minibatch: {', '.join(ids[:5])}"
            f"{f' and {len(ids) - 5} more' if len(ids) > 5 else ''}. No weight was changed by it. "
            f"{f'Go back to {back} with resume=true' if back and back.exists() else 'There is no checkpoint yet'}; "
            "lower optimizer.lr or the gradient clip, or train in precision=32-true."
        )

    def validation_step(self, batch: Minibatch, batch_idx: int) -> None:
        """Measure the loss at fixed noise and times, with the right condition and with one of another treatment.

        It is the velocity's squared error at times spread evenly, whatever law, weights and objective training has. The
        first minibatch also tells what the coupling saves and how bent the flow is.
        """
        scale, condition = self.normalisation.take(batch.condition.stain), self._condition(batch)
        target = scale.to_model(batch.target)
        n = len(target)
        fixed = torch.Generator().manual_seed(batch_idx)
        noise, more = (torch.randn(target.shape, generator=fixed).to(target) for _ in range(2))
        control = None if batch.control is None else scale.to_model(batch.control)
        source = self.source(noise, control, torch.rand(n, generator=fixed).to(target))
        index = self.coupling(source, target, batch.group, batch.condition)
        if batch_idx == 0:
            self.log("val/transport_ratio", transport_ratio(source, target, index), sync_dist=True, batch_size=1)
            some, times = slice(0, 64), uniform_grid(10).to(target)
            bent = curvature(self.network, source[some], condition[some], times)
            self.log("val/curvature", bent, sync_dist=True, batch_size=1)
        t = ((torch.randperm(n, generator=fixed) + 0.5) / n).to(target)
        point = interpolate(self.objective.path, source[index], target, t, more)
        velocity = self.network(point.x_t, t, condition)
        right = squared_error(velocity, point.velocity)
        self.log("val/loss", right.mean(), on_epoch=True, batch_size=n, sync_dist=True)
        index, swapped = partner(treatments(condition))
        other = self.network(point.x_t, t, swap_perturbation(condition, index))
        wrong = squared_error(other, point.velocity)
        cosine = torch.nn.functional.cosine_similarity(velocity.float().flatten(1), other.float().flatten(1), dim=1)
        self.condition_use.update(right[swapped], wrong[swapped], cosine[swapped])

    def on_validation_epoch_end(self) -> None:
        use = self.condition_use.compute()
        for name, value in use.items():
            self.log(f"val/{name}", value, sync_dist=True)
        # no verdict on a model that has hardly begun: the first checks come before it knows what a cell is
        if not self.trainer.sanity_checking and self.global_step >= self.trainer.max_steps / 4:
            warn_if_ignored(use)
