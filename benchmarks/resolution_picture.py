# ruff: noqa: E501
"""The picture of ``packing.py --resolution``: held-out accuracy against operations, as SVG."""

from __future__ import annotations

import numpy as np


def picture(flops: dict[str, float], accuracies: dict[str, list[float]]) -> str:
    """Accuracy against operations as SVG: a dot for each seed, a bar at each way's mean."""
    width, height, left, bottom, top = 560, 340, 64, 48, 24
    values = [value for way in accuracies.values() for value in way]
    least, most = np.floor(20 * min(values)) / 20, np.ceil(20 * max(values)) / 20
    largest = 1.1 * max(flops.values())

    def x(operations: float) -> float:
        return left + (width - left - 24) * operations / largest

    def y(accuracy: float) -> float:
        return top + (height - top - bottom) * (most - accuracy) / (most - least)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{(left + width) / 2}" y="{height - 10}" text-anchor="middle">TFLOP of training</text>',
        f'<text x="14" y="{height / 2}" text-anchor="middle" transform="rotate(-90 14 {height / 2})">held-out accuracy</text>',
    ]  # fmt: skip
    for tick in np.arange(least, most + 1e-9, 0.05):
        parts.append(f'<line x1="{left}" x2="{width - 24}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.2f}</text>')
    for tick in np.linspace(0, largest, 6):
        parts.append(
            f'<text x="{x(tick):.1f}" y="{height - bottom + 18}" text-anchor="middle">{tick / 1e12:.1f}</text>'
        )
    for (way, own), colour in zip(accuracies.items(), ("#444", "#c60", "#06c", "#777"), strict=True):
        place, mean = x(flops[way]), y(float(np.mean(own)))
        parts += [
            f'<circle cx="{place:.1f}" cy="{y(value):.1f}" r="4" fill="{colour}" fill-opacity="0.5"/>' for value in own
        ]
        parts.append(
            f'<line x1="{place - 14:.1f}" x2="{place + 14:.1f}" y1="{mean:.1f}" y2="{mean:.1f}" stroke="{colour}" stroke-width="3"/>'
        )
        label = y(min(own)) + 22 if way == "native-early" else y(max(own)) - 12  # two ways stand at the same place
        parts.append(f'<text x="{place:.1f}" y="{label:.1f}" text-anchor="middle" fill="{colour}">{way}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
