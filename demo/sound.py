"""Synthesize the sounds: one function a kind, and one a manner for sounds from far away.

Each returns mono float64 samples of a given length, at any scale; `make_sound` scales them. Partials above the band of
the rate are left out, since they would alias.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demo.kinds import Manner

Samples = npt.NDArray[np.float64]

FFT_BLOCK = 4096
"""Noise is made in multiples of it: a length with a large prime factor takes an FFT three times as long."""


@dataclass(frozen=True)
class Span:
    """The length and rate of a sound, and its source of random numbers."""

    rate: int
    frames: int
    rng: np.random.Generator

    @property
    def times(self) -> Samples:
        """Seconds at each frame, shape (frames,)."""
        return np.arange(self.frames) / self.rate

    @property
    def top(self) -> float:
        """The highest frequency, in Hz, that the rate represents well."""
        return 0.46 * self.rate


def make_sound(name: str, span: Span) -> Samples:
    """Synthesize the sound of a kind, or of a manner from far away: shape (frames,), with its peak at 1."""
    samples = TIMBRES[name](span)
    fade = min(span.frames // 8, span.rate // 50)
    samples[-fade:] *= np.linspace(1, 0, fade)
    samples[: fade // 8] *= np.linspace(0, 1, fade // 8)
    peak: np.float64 = np.abs(samples).max()
    return samples / peak


def add_place(mono: Samples, span: Span, channels: int) -> Samples:
    """Add noise, a level, and for stereo a direction: shape (frames, channels), peak below 1."""
    rng = span.rng
    mono = mono * rng.uniform(0.45, 0.9)
    hiss = shape_noise(span, 200, span.top) * rng.uniform(0.002, 0.02)
    sides = [1.0] if channels == 1 else [rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.0)]
    late = [0] if channels == 1 else [0, int(rng.integers(0, max(2, span.rate // 2000)))]
    return np.stack([side * np.roll(mono, frames) + hiss for side, frames in zip(sides, late, strict=True)], axis=1)


def shape_noise(span: Span, low: float, high: float, slope: float = 0.0) -> Samples:
    """Return noise between two frequencies in Hz, standard deviation 1, of amplitude ~ frequency ** -`slope`."""
    frames = -(-span.frames // FFT_BLOCK) * FFT_BLOCK
    spectrum = np.fft.rfft(span.rng.standard_normal(frames))
    hertz = np.fft.rfftfreq(frames, 1 / span.rate)
    edges = 1 / (1 + (low / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / high) ** 4)
    noise: Samples = np.fft.irfft(spectrum * edges * np.maximum(hertz, 20) ** -slope, frames)[: span.frames]
    noise /= noise.std()
    return noise


def sum_partials(span: Span, hertz: Samples, levels: dict[float, float]) -> Samples:
    """Return a tone of changing pitch: `hertz` at each frame, and the level of each multiple of it."""
    phase = 2 * np.pi * np.cumsum(hertz) / span.rate
    tones = [level * np.sin(ratio * phase) * (ratio * hertz < span.top) for ratio, level in levels.items()]
    total: Samples = np.sum(tones, axis=0)
    return total


def find_beats(span: Span, per_second: float, jitter: float = 0.05) -> list[int]:
    """Return the first frames of regular events, of which the first is soon after the start."""
    gap = 1 / per_second
    start = span.rng.uniform(0.02, 0.1)
    beats = np.arange(start, span.frames / span.rate, gap)
    beats = beats + span.rng.uniform(-jitter, jitter, len(beats)) * gap
    frames = [int(max(0.0, beat) * span.rate) for beat in beats]
    return [frame for frame in frames if frame < span.frames]


def add_grain(samples: Samples, at: int, grain: Samples) -> None:
    """Add a short sound to a longer one, cut at its end."""
    room = min(len(grain), len(samples) - at)
    samples[at : at + room] += grain[:room]


def make_knock(span: Span, hertz: float, decay: float, noise: float) -> Samples:
    """Return one dry knock: a tone that decays within `decay` seconds, with a share of noise."""
    seconds = np.arange(int(6 * decay * span.rate)) / span.rate
    tone = np.sin(2 * np.pi * min(hertz, span.top) * seconds)
    return np.exp(-seconds / decay) * (tone + noise * span.rng.standard_normal(len(seconds)))


def swell(span: Span, per_second: float, depth: float) -> Samples:
    """Return a level that swings between 1 and 1 - depth."""
    phase = span.rng.uniform(0, 2 * np.pi)
    return 1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * per_second * span.times + phase))


# Kinds that strike.


def make_boat(span: Span) -> Samples:
    """Synthesize an old one-cylinder engine: low thumps with a puff of exhaust."""
    samples = 0.05 * shape_noise(span, 60, 500)
    hertz = span.rng.uniform(65, 110)
    for beat in find_beats(span, span.rng.uniform(5, 8), jitter=0.08):
        add_grain(samples, beat, make_knock(span, hertz, 0.045, 0.12) * span.rng.uniform(0.8, 1.2))
    return samples


def make_frog(span: Span) -> Samples:
    """Synthesize croaks: a train of pulses through a throat."""
    rng, samples = span.rng, 0.01 * shape_noise(span, 300, 2000)
    throat, pulses = rng.uniform(650, 1000), rng.uniform(38, 60)
    for beat in find_beats(span, rng.uniform(2.0, 3.0)):
        length = rng.uniform(0.16, 0.26)
        for i in range(int(length * pulses)):
            level = np.sin(np.pi * (i + 0.5) / (length * pulses))
            at = beat + int(i / pulses * span.rate)
            if at < span.frames:
                add_grain(samples, at, level * make_knock(span, throat * (1 + 0.1 * level), 0.006, 0.05))
    return samples


def make_bell(span: Span) -> Samples:
    """Synthesize a church bell: hum, prime, minor third, fifth and nominal, each with its own decay.

    Ratios of the partials of a tuned bell: Fletcher and Rossing, The Physics of Musical Instruments, section 21.2.
    """
    rng, samples = span.rng, np.zeros(span.frames)
    strike = rng.uniform(280, 520)
    partials = ((0.5, 0.5, 1.6), (1.0, 0.8, 1.0), (1.2, 0.9, 0.8), (1.5, 0.4, 0.6), (2.0, 1.0, 0.5), (3.0, 0.5, 0.25))
    for beat in find_beats(span, rng.uniform(1.0, 1.7)):
        seconds = np.arange(span.frames - beat) / span.rate
        tones = [
            level * np.exp(-seconds / decay) * np.sin(2 * np.pi * ratio * strike * seconds)
            for ratio, level, decay in partials
            if ratio * strike < span.top
        ]
        add_grain(samples, beat, np.sum(tones, axis=0))
    return samples


def make_clock(span: Span) -> Samples:
    """Synthesize tick, tock: two small hard knocks in a wooden case."""
    rng, samples = span.rng, 0.003 * shape_noise(span, 100, 1000)
    tick, case = rng.uniform(2300, 3000), rng.uniform(380, 520)
    for i, beat in enumerate(find_beats(span, rng.uniform(3, 4.5), jitter=0.01)):
        pitch = tick if i % 2 else 0.8 * tick
        add_grain(samples, beat, make_knock(span, pitch, 0.004, 0.3))
        add_grain(samples, beat, 0.35 * make_knock(span, case, 0.014, 0.0))
    return samples


# Kinds that sing.


def make_whale(span: Span) -> Samples:
    """Synthesize long low moans that slide, with the echo of deep water."""
    rng, t = span.rng, span.times
    base, slide = rng.uniform(110, 190), rng.uniform(0.3, 0.9) * rng.choice([-1, 1])
    bend = np.sin(2 * np.pi * rng.uniform(0.3, 0.6) * t + rng.uniform(0, 6))
    hertz = base * 2 ** (slide * bend + 0.01 * np.sin(2 * np.pi * 4 * t))
    moan = sum_partials(span, hertz, {1: 1.0, 2: 0.45, 3: 0.25, 4: 0.08}) * swell(span, rng.uniform(0.5, 1), 0.7)
    moan *= np.minimum(1, t / 0.08)
    echo = np.concatenate([np.zeros(span.rate // 5), moan])[: span.frames]
    return moan + 0.4 * echo + 0.04 * shape_noise(span, 40, 300)


def make_bird(span: Span) -> Samples:
    """Synthesize a phrase of quick whistled notes, each sliding its own way."""
    rng, samples = span.rng, 0.004 * shape_noise(span, 500, 3000)
    at = int(0.03 * span.rate)
    phrase = [(rng.uniform(2000, 3000), rng.uniform(-0.3, 0.2), rng.uniform(0.06, 0.15)) for _ in range(3)]
    while at < span.frames:
        hertz, slide, length = phrase[int(rng.integers(len(phrase)))]
        progress = np.linspace(0, 1, int(length * span.rate))
        note = sum_partials(span, hertz * 2 ** (slide * progress), {1: 1.0, 2: 0.05})
        add_grain(samples, at, note * np.sin(np.pi * progress) * rng.uniform(0.6, 1.0))
        at += int((length + rng.uniform(0.03, 0.12)) * span.rate)
    return samples


def make_siren(span: Span) -> Samples:
    """Synthesize two horns a fourth apart, by turns."""
    rng = span.rng
    low, turn = rng.uniform(400, 480), rng.uniform(0.3, 0.5)
    high_now = ((span.times + rng.uniform(0, 1)) / turn).astype(np.int64) % 2
    hertz = np.where(high_now == 1, low * 4 / 3, low)
    return sum_partials(span, hertz, {1: 1.0, 2: 0.5, 3: 0.6, 4: 0.3, 5: 0.35, 7: 0.15})


def make_violin(span: Span) -> Samples:
    """Synthesize a few bowed notes of a major scale, with vibrato and the scratch of the bow."""
    rng, t = span.rng, span.times
    steps = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    length = rng.uniform(0.3, 0.6)
    notes = steps[(rng.integers(0, 4) + np.arange(64) * rng.choice([-1, 1])) % len(steps)]
    which = (t / length).astype(np.int64)
    vibrato = 1 + 0.008 * np.sin(2 * np.pi * rng.uniform(5, 6.5) * t)
    hertz = rng.choice([196.0, 293.7, 440.0]) * 2 ** (notes[which] / 12) * vibrato
    bow = np.minimum(1, 12 * (t / length - which)) * (1 - 0.4 * (t / length - which))
    tone = sum_partials(span, hertz, {k: 1 / k for k in range(1, 12)})
    return (tone + 0.05 * shape_noise(span, 1500, span.top)) * bow


# Kinds that rush.


def make_surf(span: Span) -> Samples:
    """Synthesize a wave that rises, breaks and draws back: noise whose brightness follows its level."""
    level = swell(span, span.rng.uniform(0.35, 0.7), 0.9)
    return shape_noise(span, 60, 500, slope=0.4) * (0.3 + level) + 0.8 * shape_noise(span, 500, 1800) * level**3


def make_rain(span: Span) -> Samples:
    """Synthesize a bright even hiss, and single drops on a tin roof."""
    rng = span.rng
    samples = 0.25 * shape_noise(span, 1200, span.top)
    for at in rng.integers(0, span.frames, int(rng.uniform(25, 60) * span.frames / span.rate)):
        add_grain(samples, int(at), rng.uniform(0.3, 1.2) * make_knock(span, rng.uniform(1800, 3400), 0.003, 0.2))
    return samples


def make_train(span: Span) -> Samples:
    """Synthesize chuffs, every fourth stronger, over a low rumble; sometimes the whistle."""
    rng, t = span.rng, span.times
    samples = 0.12 * shape_noise(span, 40, 160)
    steam = shape_noise(span, 350, 1500)
    for i, beat in enumerate(find_beats(span, rng.uniform(4, 7))):
        seconds = np.arange(span.frames - beat) / span.rate
        puff = np.minimum(1, seconds / 0.015) * np.exp(-seconds / 0.06)
        add_grain(samples, beat, puff * steam[beat:] * (1.0 if i % 4 == 0 else 0.6))
    if rng.random() < 0.3:
        whistle = sum_partials(span, np.full(span.frames, rng.uniform(600, 720)), {1: 1.0, 1.26: 0.8, 1.5: 0.7})
        samples += 0.4 * whistle * np.clip((t - 0.4 * t[-1]) / 0.05, 0, 1)
    return samples


def make_fire(span: Span) -> Samples:
    """Synthesize a soft roar in the chimney, and sparks."""
    rng = span.rng
    samples = 0.07 * shape_noise(span, 40, 250, slope=0.5) * swell(span, rng.uniform(1, 3), 0.4)
    for at in rng.integers(0, span.frames, int(rng.uniform(10, 22) * span.frames / span.rate)):
        seconds = np.arange(int(0.02 * span.rate)) / span.rate
        spark = rng.standard_normal(len(seconds)) * np.exp(-seconds / rng.uniform(0.001, 0.004))
        add_grain(samples, int(at), spark * rng.uniform(0.1, 0.5))
    return samples


# Each manner from far away, across a valley or through a wall.


def make_distant_strikes(span: Span) -> Samples:
    """Synthesize dull knocks of something."""
    samples = 0.06 * shape_noise(span, 60, 600, slope=0.5)
    hertz = span.rng.uniform(250, 600)
    for beat in find_beats(span, span.rng.uniform(2.5, 6)):
        add_grain(samples, beat, make_knock(span, hertz, 0.025, 0.05))
    return samples


def make_distant_singing(span: Span) -> Samples:
    """Synthesize a thin tone that wanders."""
    rng, t = span.rng, span.times
    bend = np.sin(2 * np.pi * rng.uniform(0.4, 1.5) * t + rng.uniform(0, 6))
    tone = sum_partials(span, rng.uniform(350, 700) * 2 ** (0.3 * bend), {1: 1.0, 2: 0.1})
    return tone * swell(span, rng.uniform(1, 2), 0.6) + 0.08 * shape_noise(span, 60, 600, slope=0.5)


def make_distant_rushing(span: Span) -> Samples:
    """Synthesize a murmur that could be anything."""
    return shape_noise(span, 80, 900, slope=0.5) * swell(span, span.rng.uniform(0.5, 3), 0.5)


TIMBRES: dict[str, Callable[[Span], Samples]] = {
    "boat": make_boat,
    "frog": make_frog,
    "bell": make_bell,
    "clock": make_clock,
    "whale": make_whale,
    "bird": make_bird,
    "siren": make_siren,
    "violin": make_violin,
    "surf": make_surf,
    "rain": make_rain,
    "train": make_train,
    "fire": make_fire,
    Manner.STRIKES: make_distant_strikes,
    Manner.SINGS: make_distant_singing,
    Manner.RUSHES: make_distant_rushing,
}
"""The functions by the name of the kind or, for sounds from far away, of the manner."""
