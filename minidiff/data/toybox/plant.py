"""Mistakes, planted: a clip that is right but for one thing, to see who notices."""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from minidiff.data.toybox.motion import BOUNCES, camera, places, reach, rim
from minidiff.data.toybox.render import render
from minidiff.data.toybox.spec import COLOURS, FLOOR, Spec

MISTAKES = ("recolour", "freeze", "shuffle", "reversed gravity", "double", "teleport")


def plant(spec: Spec, mistake: str, generator: Generator, height: int = 32) -> Tensor:
    """The clips of a spec, (B,3,F,H,W) in [-1, 1], each with one mistake.

    `recolour`: the first object takes another colour for the last third. `freeze`: nothing moves. `shuffle`: the
    frames in another order. `reversed gravity`: what bounces hangs from the ceiling instead. `double`: the first
    object is there twice. `teleport`: it leaps in mid-clip. ValueError for an unknown mistake, or one that needs
    something that a clip lacks. Example: `plant(sample(8, g, "two"), "shuffle", g)`.
    """
    if mistake not in MISTAKES:
        raise ValueError(f"mistake={mistake!r}: expected one of {', '.join(MISTAKES)}")
    if spec.frames < 6:
        raise ValueError(f"frames={spec.frames}: a mistake needs time to be seen, 6 frames or more")
    at = places(spec)
    if mistake in ("freeze", "shuffle"):
        edge = camera(spec, torch.arange(spec.frames, device=at.device).float())
        still = (at - at[:, :1]).abs().flatten(1).amax(1) + edge.abs().amax(1) < 0.01
        if still.any():
            raise ValueError(f"{mistake}: nothing moves in clip {int(still.nonzero()[0])}, so nobody could see it")
    if mistake == "freeze":
        return render(spec, height)[:, :, :1].expand(-1, -1, spec.frames, -1, -1).clone()
    if mistake == "shuffle":
        clips = render(spec, height)
        for clip in clips:
            order = torch.arange(spec.frames)
            while (order.diff() == 1).sum() > spec.frames / 4:  # hardly a frame follows its own
                order = torch.randperm(spec.frames, generator=generator, device=generator.device)
            clip[:] = clip[:, order.to(clip.device)]
        return clips
    if mistake == "recolour":
        late = 2 * spec.frames // 3
        colour = spec.colour.clone()
        for clip in colour:
            free = [c for c in range(len(COLOURS)) if c not in clip.tolist()]
            clip[0] = free[int(torch.randint(len(free), (), generator=generator, device=generator.device))]
        early, then = render(spec, height), render(replace(spec, colour=colour), height)
        return torch.cat([early[:, :, :late], then[:, :, late:]], 2)
    if mistake == "reversed gravity":
        falls = spec.motion == BOUNCES
        if not falls.any(1).all():
            raise ValueError("reversed gravity: a clip has nothing that bounces; ask for motions=('bounces',)")
        _, up, down = reach(spec.shape, spec.radius)[:, None].unbind(-1)
        mirrored = torch.stack([at[..., 0], up + FLOOR - down - at[..., 1]], -1)
        return render(spec, height, at=torch.where(falls[:, None, :, None], mirrored, at))
    if mistake == "teleport":
        leap = elsewhere(spec, at, generator)
        late = torch.arange(spec.frames, device=at.device)[:, None] >= spec.frames // 2
        return render(
            spec, height, at=torch.cat([at[:, :, :1] + late[..., None] * leap[:, None, None], at[:, :, 1:]], 2)
        )
    clips = ("wall", "grey")  # of two numbers for a clip, as are the fields of two objects
    slots = {"start": 2, "velocity": 2, "orbit": 2} | {
        n: 1 for n, v in spec.tensors().items() if v.shape == spec.shape.shape and n not in clips
    }
    grown = {n: torch.cat([v := getattr(spec, n), v.narrow(dim, 0, 1)], dim) for n, dim in slots.items()}
    copy = at[:, :, :1] + elsewhere(spec, at, generator)[:, None, None]
    return render(replace(spec, **grown), height, at=torch.cat([at, copy], 2))


def elsewhere(spec: Spec, at: Tensor, generator: Generator, tries: int = 400) -> Tensor:
    """An offset for the first object of each clip, (B, 2), that keeps it in the picture and off all others, itself too.

    The roomiest of many random ones.
    """
    device = at.device
    offset = torch.rand(len(spec), tries, 2, generator=generator, device=generator.device).to(device) * 1.6 - 0.8
    edge = camera(spec, torch.arange(spec.frames, device=device).float())
    moved = at[:, None, :, 0] + offset[:, :, None]  # (B, T, F, 2)
    side, up, down = reach(spec.shape, spec.radius)[:, None, None, 0].unbind(-1)
    x, y = moved[..., 0] - edge[:, None], moved[..., 1]
    room = torch.stack([x - side, spec.aspect - side - x, y - up, FLOOR - down - y]).amin(0)  # (B, T, F)
    outer = rim(spec.shape, spec.radius)
    for n in range(at.shape[2]):
        apart = (moved - at[:, None, :, n]).norm(dim=-1) - (outer[:, 0] + outer[:, n])[:, None, None]
        room = torch.where((spec.shape[:, n] >= 0)[:, None, None], torch.minimum(room, apart), room)
    best = room.amin(2).argmax(1)
    return offset[torch.arange(len(spec), device=device), best]
