"""The hand-written matrices: what makes the model say what it says.

Dimension 0 is one for every token and carries the default ranking. Each token of a known sentence has
a dimension of its own, so that a row of the output matrix says what follows it. One attention head lets
`<|assistant|>` look for trigger words on the lowest rotary frequency, where position hardly matters, and
writes what it found into intent dimensions. The feed-forward part adds nothing.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtimes.tiny_model import vocabulary
from runtimes.tiny_model.vocabulary import Vocabulary

Matrix: TypeAlias = NDArray[np.float32]

CONTEXT_TOKENS = 131072
HEAD = 32
FEED_FORWARD = 32
SPARE = (
    48  # room for tokens that are in no sentence; fewer and their noise vectors begin to collide
)
RANKING = (('"', 9.0), ("}", 8.5), ("{", 8.0), (":", 7.5), ("]", 7.0), ("0", 6.5), ("\n", 6.0))
"""What a grammar that forces JSON finds at the top: it closes everything as soon as it may."""
FOLLOWS, INTENT = 24.0, 60.0  # logits: an intent beats the bigram, which beats the default ranking


@dataclass(frozen=True, slots=True)
class Layer:
    """The projections of the one layer, in the row order of the safetensors world."""

    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    gate: Matrix
    up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True)
class Weights:
    """The whole model."""

    words: Vocabulary
    width: int
    embedding: Matrix
    output: Matrix
    layer: Layer


def hand_made() -> Weights:
    """The same numbers on every machine and every run."""
    random = np.random.default_rng(7)
    words = Vocabulary()
    chain = list(
        dict.fromkeys(
            [
                vocabulary.ASSISTANT,
                vocabulary.TOOL,
                vocabulary.CALL,
                vocabulary.CALL_END,
                *words.greeting,
                *words.count,
                *(token for pair in words.triggers.values() for token in pair),
            ]
        )
    )
    own = {token: 1 + number for number, token in enumerate(chain)}
    intents = {
        name: 1 + len(chain) + number
        for number, name in enumerate([*vocabulary.TRIGGERS, "tool_result"])
    }
    used = 1 + len(chain) + len(intents)
    width = -(-(used + SPARE) // 32) * 32
    embedding = _embedding(random, len(words.tokens), width, used, own)
    output = _output(words, width, own, intents)
    return Weights(words, width, embedding, output, _layer(random, words, width, own, intents))


def _embedding(
    random: np.random.Generator, rows: int, width: int, used: int, own: dict[int, int]
) -> Matrix:
    embedding = np.zeros((rows, width), np.float32)
    embedding[:, 0] = 1
    noise = random.standard_normal((rows, width - used)).astype(np.float32)
    embedding[:, used:] = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    for token, dimension in own.items():
        embedding[token, used:] = 0
        embedding[token, dimension] = 1
    return embedding


def gain(width: int) -> float:
    """What normalising makes of each of a token's two ones."""
    return float(np.sqrt(width / 2))


def _output(words: Vocabulary, width: int, own: dict[int, int], intents: dict[str, int]) -> Matrix:
    g = gain(width)
    output = np.zeros((len(words.tokens), width), np.float32)
    output[:, 0] = -8 / g
    for character, logit in RANKING:
        output[words.ids[vocabulary.byte_token(ord(character))], 0] = logit / g
    output[vocabulary.END, 0] = 7.8 / g
    output[vocabulary.CALL_END, 0] = 7.9 / g

    follows = [(vocabulary.ASSISTANT, words.greeting[0]), (vocabulary.CALL_END, vocabulary.END)]
    follows += _pairs(words.greeting, vocabulary.END)
    follows += _pairs(words.count, words.count[0])
    for token, following in follows:
        output[following, own[token]] += FOLLOWS / g
    for word, first in vocabulary.TRIGGERS.items():
        output[words.ids[first], intents[word]] += INTENT / g
    output[words.greeting[0], intents["tool_result"]] += INTENT / g
    return output


def _pairs(sentence: list[int], last: int) -> list[tuple[int, int]]:
    return list(zip(sentence, [*sentence[1:], last], strict=True))


def _layer(
    random: np.random.Generator,
    words: Vocabulary,
    width: int,
    own: dict[int, int],
    intents: dict[str, int],
) -> Layer:
    g, slow = gain(width), HEAD // 2 - 1
    q, k, v = (np.zeros((HEAD, width), np.float32) for _ in range(3))
    o = np.zeros((width, HEAD), np.float32)
    q[slow, own[vocabulary.ASSISTANT]] = 1
    for number, (word, tokens) in enumerate(words.triggers.items()):
        for token in tokens:
            k[slow, own[token]] = 1
            v[number, own[token]] = 1
        o[intents[word], number] = 1 / g
    # A tool's result outweighs the words before it, so that the model answers instead of calling again.
    number = len(words.triggers)
    k[slow, own[vocabulary.TOOL]] = 3
    v[number, own[vocabulary.TOOL]] = 1
    o[intents["tool_result"], number] = 1 / g
    gate, up = (
        (random.standard_normal((FEED_FORWARD, width)) * 1e-3).astype(np.float32) for _ in range(2)
    )
    return Layer(q, k, v, o, gate, up, np.zeros((width, FEED_FORWARD), np.float32))
