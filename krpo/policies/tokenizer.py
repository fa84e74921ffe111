"""The tiny policy's tokenizer: one token per character, and one for each of four tags.

It knows printable ASCII and the newline; every other character is `<unk>`. It adds nothing of its own to a text, so
that a prompt has the same tokens in training and under every evaluation backend. The tags are ordinary tokens, not
special ones: decoding with `skip_special_tokens` keeps them, as the verifier needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
CHARACTERS = ("\n", *map(chr, range(32, 127)))
VOCABULARY = (PAD, BOS, EOS, UNK, *TAGS, *CHARACTERS)


def character_tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    """A Hugging Face tokenizer; pads on the left, as generation wants."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCABULARY)}, unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
