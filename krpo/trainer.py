"""`KRPOTrainer`: TRL's GRPO trainer in which the advantage estimator and the reward noise are named, swappable parts.

    from krpo import KRPOConfig, KRPOTrainer

    trainer = KRPOTrainer(
        model="Qwen/Qwen2.5-0.5B-Instruct",
        reward_funcs=my_reward,
        args=KRPOConfig(advantage_estimator="krpo", reward_noise="flip", reward_noise_params={"rate": 0.2}),
        train_dataset=dataset,
    )
    trainer.train()

Every option of TRL's `GRPOConfig` keeps working. With ``advantage_estimator="grpo"`` and no noise the advantages are
those of stock TRL, bit for bit.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import gather, gather_object
from trl.data_utils import is_conversational

from krpo import resume, rollouts
from krpo.advantages import make_estimator
from krpo.errors import BadInput, KrpoError
from krpo.noise import make_noise
from krpo.trl_import import GRPOConfig, GRPOTrainer, load_vllm


@dataclass
class KRPOConfig(GRPOConfig):
    """TRL's `GRPOConfig` and five options of our own.

    Parameters:
        advantage_estimator: name of the estimator (`krpo.available_estimators()`), or `package.module:object`.
        advantage_params: its parameters, such as ``{"process_variance": 1e-5}``.
        reward_noise: noise model on the training reward; evaluation never sees it.
        reward_noise_params: its parameters, such as ``{"rate": 0.2}``.
        max_sampler_difference: largest mean difference, in nats a token, between the log-probs of vLLM and of the
            trainer; beyond it the engine's weights are not the trainer's, and training stops.
    """

    _VALID_DICT_FIELDS: ClassVar = [*GRPOConfig._VALID_DICT_FIELDS, "advantage_params", "reward_noise_params"]

    advantage_estimator: str = field(default="krpo", metadata={"help": "Advantage estimator, by name."})
    advantage_params: dict | str | None = field(
        default=None, metadata={"help": "Parameters of the advantage estimator (JSON)."}
    )
    reward_noise: str = field(default="none", metadata={"help": "Noise model on the training reward, by name."})
    reward_noise_params: dict | str | None = field(
        default=None, metadata={"help": "Parameters of the noise model (JSON)."}
    )
    max_sampler_difference: float = field(
        default=0.3, metadata={"help": "Stop where vLLM's log-probs differ from the trainer's by more nats a token."}
    )


class KRPOTrainer(GRPOTrainer):
    """`trl.GRPOTrainer` with `KRPOConfig.advantage_estimator` in the place of the group's mean and deviation.

    Rewards are gathered over processes, summed over reward functions by `reward_weights`, disturbed by the noise model,
    and turned into advantages group by group, in generation order. A completion that no reward function could score
    gets the advantage 0 and does not move the others.

    Rollouts and noise are drawn from streams derived from (`args.seed`, step), so that a resumed run draws what an
    undisturbed one would have drawn, and estimators that share a seed see the same rollouts at equal weights.

    A reward function may hand per-completion columns to the estimator with TRL's ``log_extra(name, values)``:
    `correct` and `partial_credit` are passed on as `correct_PG` and `partial_credit_PG`. For an estimator that asks for
    `greedy_rewards_P` (ReMax), one greedy answer per prompt is sampled and scored beside the group.
    """

    _tag_names: ClassVar = ["trl", "grpo", "krpo"]
    _name = "KRPO"

    def __init__(self, model: Any, reward_funcs: Any = None, args: KRPOConfig | None = None, **kwargs: Any) -> None:
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = KRPOConfig(f"{str(name).split('/')[-1]}-KRPO")
        if not isinstance(args, KRPOConfig):
            raise BadInput(f"KRPOTrainer needs a KRPOConfig, found {type(args).__name__}")
        self.estimator = make_estimator(args.advantage_estimator, **_mapping(args.advantage_params))
        self.noise = make_noise(args.reward_noise, **_mapping(args.reward_noise_params))
        if args.multi_objective_aggregation != "sum_then_normalize":
            raise BadInput(
                f"multi_objective_aggregation is '{args.multi_objective_aggregation}': an advantage estimator works on "
                "one reward per answer, so rewards are summed first; use 'sum_then_normalize'"
            )
        colocated = args.use_vllm and args.vllm_mode == "colocate"
        if args.use_vllm:
            load_vllm()
        if colocated and args.use_cpu:
            rollouts.prepare_cpu()
        self._phase_seconds = {"rollout": 0.0, "reward": 0.0, "advantage": 0.0}
        self._rewards_BF: torch.Tensor | None = None
        self._held_out_batches = 0
        with rollouts.quiet_engine() if colocated else contextlib.nullcontext():
            super().__init__(model=model, reward_funcs=reward_funcs, args=args, **kwargs)
        if colocated:
            place = self.accelerator.process_index // args.vllm_tensor_parallel_size
            rollouts.seed_requests(
                self.vllm_generation.llm,
                lambda position: rollouts.rollout_seed(args.seed, self.state.global_step, place, position),
            )

    def _generate(self, prompts: list) -> Any:
        started = time.perf_counter()
        step, rank = self.state.global_step, self.accelerator.process_index
        torch.manual_seed(rollouts.rollout_seed(self.args.seed, step, rank, *self._held_out_batch()))
        try:
            output = super()._generate(prompts)
        except RuntimeError as error:
            if "probability tensor" not in str(error):
                raise
            raise KrpoError(f"the policy's probabilities are not numbers after step {step}: it has diverged") from error
        self._phase_seconds["rollout"] += time.perf_counter() - started
        return output

    def _held_out_batch(self) -> tuple[str, ...]:
        """Sets the stream of a held-out batch apart from that of the training batch at the same step."""
        if self.model.training:
            self._held_out_batches = 0
            return ()
        self._held_out_batches += 1
        return ("held-out", str(self._held_out_batches))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        limit = self.args.max_grad_norm
        self._metrics["train"]["grad_clipped"].append(float(limit > 0 and norm is not None and norm > limit))
        return norm

    def _calculate_rewards(
        self, inputs: list, prompts: list, completions: list, completion_ids_list: list
    ) -> torch.Tensor:
        started = time.perf_counter()
        try:
            self._rewards_BF = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        except KrpoError:
            raise
        except Exception as error:
            step = self.state.global_step
            raise KrpoError(f"a reward function failed at step {step}: {type(error).__name__}: {error}") from error
        lengths_B = torch.tensor([len(ids) for ids in completion_ids_list], device=self.accelerator.device)
        self._lengths_B = gather(lengths_B)
        self._phase_seconds["reward"] += time.perf_counter() - started
        return self._rewards_BF

    def _generate_and_score_completions(self, inputs: list) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        self._check_sampler()
        greedy_P = self._greedy_rewards(inputs) if "greedy_rewards_P" in self.estimator.extras else None
        started = time.perf_counter()
        advantages_B = self._advantages([example["prompt"] for example in inputs], greedy_P)
        local = len(inputs)
        rank = self.accelerator.process_index
        output["advantages"] = advantages_B[rank * local : (rank + 1) * local]
        for _ in range(advantages_B.numel()):  # the completions table shows what was used, not TRL's own
            self._logs["advantages"].pop()
        self._logs["advantages"].extend(advantages_B.tolist())
        self._phase_seconds["advantage"] += time.perf_counter() - started
        return output

    def _check_sampler(self) -> None:
        """Stop where vLLM's log-probs say that its weights are not the trainer's."""
        differences = self._metrics["train"].get("sampling/sampling_logp_difference/mean")
        if differences and not differences[-1] < self.args.max_sampler_difference:
            raise KrpoError(
                f"step {self.state.global_step}: vLLM's log-probs differ from the trainer's by {differences[-1]:.3f} "
                f"nats a token on average ({self.args.max_sampler_difference} is allowed): its weights are others"
            )

    def _greedy_rewards(self, inputs: list) -> torch.Tensor:
        """The reward of one greedy answer per prompt of the gathered batch, weighted and summed like the others. [P]"""
        started = time.perf_counter()
        prompts = [example["prompt"] for example in inputs]
        first = {_prompt_id(prompt): place for place, prompt in reversed(list(enumerate(prompts)))}
        places = sorted(first.values())
        with self._greedy_decoding():
            prompt_ids, images, fields = self._tokenize_prompts([prompts[place] for place in places])
            completion_ids, _ = self._generate_single_turn(prompt_ids, images, fields, 1)
        self._phase_seconds["rollout"] += time.perf_counter() - started
        started = time.perf_counter()
        texts = self.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
        of_prompt = {_prompt_id(prompts[place]): i for i, place in enumerate(places)}
        chosen = [of_prompt[_prompt_id(prompt)] for prompt in prompts]
        chat = is_conversational({"prompt": prompts[0]})
        answers = [[{"role": "assistant", "content": texts[i]}] if chat else texts[i] for i in chosen]
        rewards_BF = super()._calculate_rewards(inputs, prompts, answers, [completion_ids[i] for i in chosen])
        self._pending_metrics.clear()  # what the reward functions logged of the greedy answers is no rollout's
        self._pending_extra_logs.clear()
        self._phase_seconds["reward"] += time.perf_counter() - started
        rewards_B = (rewards_BF * self.reward_weights.to(rewards_BF.device)).nansum(dim=1)
        return rewards_B.view(-1, self.num_generations)[:, 0]

    @contextlib.contextmanager
    def _greedy_decoding(self) -> Iterator[None]:
        """Temperature 0 in whichever engine samples."""
        if self.use_vllm:
            temperature, self.vllm_generation.temperature = self.vllm_generation.temperature, 0.0
            try:
                yield
            finally:
                self.vllm_generation.temperature = temperature
        else:
            kept: Any = self.generation_config
            self.generation_config: Any = copy.deepcopy(kept)
            self.generation_config.update(do_sample=False, temperature=None, top_p=None, top_k=None, min_p=None)
            try:
                yield
            finally:
                self.generation_config = kept

    def _advantages(self, prompts: list, greedy_P: torch.Tensor | None = None) -> torch.Tensor:
        """Advantages of the whole gathered batch. Returns [B] in generation order; logs what a study needs to see."""
        assert self._rewards_BF is not None
        G = self.num_generations
        rewards_BF = self._rewards_BF
        weights_F = self.reward_weights.to(rewards_BF.device)
        unscorable_B = torch.isnan(rewards_BF).all(dim=1)
        true_PG = (rewards_BF * weights_F).nansum(dim=1).view(-1, G)
        mask_PG = ~unscorable_B.view(-1, G)
        prompt_ids_P = [_prompt_id(p) for p in gather_object(prompts)[::G]]
        step = self.state.global_step

        # The greedy answer is one more answer of its group: the verifier errs on it as on the others.
        asked = true_PG if greedy_P is None else torch.cat([true_PG, greedy_P[:, None]], dim=1)
        observed = self.noise(asked, seed=self.args.seed, step=step, prompt_ids_P=prompt_ids_P)
        observed_PG = observed[:, :G].contiguous()
        extras = self._extras(prompt_ids_P, G)
        if greedy_P is not None:
            extras["greedy_rewards_P"] = observed[:, G]
        advantages_PG = self.estimator(observed_PG, mask_PG=mask_PG, **extras)
        if not torch.isfinite(advantages_PG).all():
            raise BadInput(
                f"estimator '{self.args.advantage_estimator}' returned a non-finite advantage at step {step}"
            )
        self._log_advantages(true_PG, observed_PG, advantages_PG, mask_PG)
        return advantages_PG.reshape(-1)

    def _extras(self, prompt_ids_P: list[str], G: int) -> dict[str, Any]:
        """The keyword extras that the estimator asks for (`estimator.extras`)."""
        extras: dict[str, Any] = {}
        for name in self.estimator.extras:
            if name == "prompt_ids_P":
                extras[name] = prompt_ids_P
            elif name == "lengths_PG":
                extras[name] = self._lengths_B.view(-1, G)
            elif name in ("seed", "step"):
                extras[name] = self.args.seed if name == "seed" else self.state.global_step
            elif name in ("correct_PG", "partial_credit_PG"):
                column = name.removesuffix("_PG")
                values = self._logs["extra"].get(column)
                if not values:
                    raise BadInput(
                        f"estimator '{self.args.advantage_estimator}' needs {name}; a reward function provides it with "
                        f"log_extra('{column}', values)"
                    )
                extras[name] = torch.tensor(list(values), dtype=torch.float32, device=self._lengths_B.device).view(
                    -1, G
                )
        return extras

    def _log_advantages(
        self,
        true_PG: torch.Tensor,
        observed_PG: torch.Tensor,
        advantages_PG: torch.Tensor,
        mask_PG: torch.Tensor,
    ) -> None:
        metrics = self._metrics["train"]
        scored = mask_PG.float().sum().clamp(min=1)
        centred_PG = true_PG - (true_PG * mask_PG).sum(1, keepdim=True) / mask_PG.sum(1, keepdim=True).clamp(min=1)
        informative_PG = mask_PG & (centred_PG.abs() > 1e-6)
        mismatch_PG = informative_PG & (torch.sign(advantages_PG) != torch.sign(centred_PG))
        values = {
            "reward_observed": (observed_PG * mask_PG).sum() / scored,
            "advantage_rms": (advantages_PG.square().sum() / scored).sqrt(),
            "advantage_max": advantages_PG.abs().max(),
            "zero_advantage_groups": (advantages_PG.abs() < 1e-8).all(dim=1).float().mean(),
            "sign_mismatch": mismatch_PG.sum() / informative_PG.sum().clamp(min=1),
        }
        numbers = torch.stack(list(values.values())).tolist()  # one copy to the host for all
        for name, value in zip(values, numbers, strict=True):
            metrics[name].append(value)
        for name, number in self.estimator.diagnostics(observed_PG, mask_PG=mask_PG).items():
            metrics[name].append(number)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training:
            for phase, seconds in self._phase_seconds.items():
                logs[f"seconds/{phase}"] = seconds
                self._phase_seconds[phase] = 0.0
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # a sharded state is whole when the last process has written its part
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            resume.write_estimator(self.estimator.state_dict(), folder)
            resume.mark_complete(folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:  # they have formats of their own
            super()._save_optimizer_and_scheduler(output_dir)
        elif self.args.should_save:
            resume.save_optimizer(self.optimizer, self.lr_scheduler, Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # TRL's own controllers, and formats that are not ours
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        if (folder / "optimizer.safetensors").exists():
            resume.load_optimizer(self.optimizer, self.lr_scheduler, folder)
        self.estimator.load_state_dict(resume.read_estimator(folder))

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing to save: `_generate` seeds every step anew."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing to load: see `_save_rng_state`."""


def _mapping(params: dict | str | None) -> dict[str, Any]:
    """Parameters as a mapping: the command line of a TRL script gives them as JSON text."""
    return json.loads(params) if isinstance(params, str) else dict(params or {})


def _prompt_id(prompt: Any) -> str:
    """A prompt's identity over steps and processes: a hash of its text."""
    text = json.dumps(prompt, sort_keys=True) if is_conversational({"prompt": prompt}) else str(prompt)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
