"""Every error the library raises on purpose; each message says what to do about it.

All derive from `ActiveDPOError` and from the built-in exception that a caller would expect.
"""

from __future__ import annotations

from collections.abc import Iterable


class ActiveDPOError(Exception):
    """Base of all errors of this library."""


class ModelNotFound(ActiveDPOError, FileNotFoundError):
    """No such folder and no such hub model (or the hub is out of reach)."""


class NoWeights(ActiveDPOError, FileNotFoundError):
    """A folder, but without safetensors weights."""


class ModelMismatch(ActiveDPOError, ValueError):
    """Tokenizer, model, adapter or reference do not belong together."""


class TokenizerMismatch(ModelMismatch):
    """A token id lies beyond the model's embedding."""


class DeviceUnavailable(ActiveDPOError, RuntimeError):
    """A device was asked for that this machine lacks."""


class OutOfMemory(ActiveDPOError, MemoryError):
    """Not even a single row fits the memory."""


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error says: of Python, of CUDA, of torch's allocator on a CPU.

    Not every RuntimeError that speaks of memory: "unsupported memory format" is no reason to try
    again with less.
    """
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):  # torch's own
        return True
    told = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in told for words in _NO_MEMORY)
    )


class EmptyPrompt(ActiveDPOError, ValueError):
    """A prompt without a single token."""


class EmptyCompletion(ActiveDPOError, ValueError):
    """A completion without text and without tokens."""


class InvalidPrompt(ActiveDPOError, ValueError):
    """A prompt that is neither text nor chat messages, or that the chat template refuses."""


class ContextOverflow(ActiveDPOError, ValueError):
    """Prompt and completion are longer than the model's context."""

    def __init__(self, index: int, tokens: int, context: int, what: str = "pair") -> None:
        self.index, self.tokens, self.context = index, tokens, context
        super().__init__(
            f"{what} {index} needs {tokens} tokens, but the model's context holds {context}: "
            "shorten the prompt or lower max_new_tokens"
        )


class UnknownAcquisition(ActiveDPOError, ValueError):
    """No acquisition function of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, sorted(known)
        super().__init__(f"unknown acquisition {name!r}; known are: {', '.join(self.known)}")


class InvalidScores(ActiveDPOError, ValueError):
    """Scores that cannot be ranked (NaN, infinity, wrong shape)."""


class PoolTooSmall(ActiveDPOError, ValueError):
    """More pairs wanted than there are."""


class InvalidPreference(ActiveDPOError, ValueError):
    """A label that the chosen trainer cannot train on."""


class NothingToTrain(ActiveDPOError, ValueError):
    """No preference is left after unusable pairs were dropped."""


class CheckpointMismatch(ActiveDPOError, ValueError):
    """A checkpoint of another run: other pairs or other settings."""


class Interrupted(ActiveDPOError):
    """A training was asked to stop and has; its checkpoint is where a resume goes on."""

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped after step {step} of {total}, as asked")
        self.step, self.total = step, total


class Diverged(ActiveDPOError, ArithmeticError):
    """Training met a loss or gradient that is not finite."""


class MissingExtra(ActiveDPOError, ImportError):
    """An optional package is needed and absent."""
