"""The body of one phantom patient as numbers: everything that stays the same from image to image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from data_contracts.sources.phantom.randomness import Stream, random_stream


@dataclass(frozen=True, slots=True)
class LungShape:
    """The outline of one lung in coordinates (a, v), where a ≥ 0 is the distance from the spine."""

    apex_v: float
    apex_a: float
    width: float  # a of the lateral wall at its widest
    base_v: float  # v of the costophrenic angle
    dome_v: float  # v of the highest point of the diaphragm
    dome_a: float
    hilum_a: float
    hilum_v: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One patient. Lengths are anatomy units (see canvas), densities are attenuation of the full chest = 1."""

    sex: str  # F or M
    age: int  # years at the first image
    right: LungShape  # the patient's right lung, on the left of the picture
    left: LungShape
    heart_width: float
    heart_reach: float  # how far the left ventricle bulges
    heart_v: float
    aorta: float  # radius of the aortic knob
    mediastinum: float  # half width of the upper mediastinum
    torso_width: float
    shoulder_v: float
    arm_u: float  # where the arms hang; beyond about 1.25 they are out of the picture
    breast: float  # 0 for none
    soft_tissue: float  # thickness of the wall before and behind the lungs
    rib_spacing: float
    rib_drop: float  # how much lower the front end of a rib lies
    rib_density: float
    clavicle_v: float
    clavicle_tilt: float
    trachea_u: float
    bubble: float  # size of the gastric bubble, 0 for none
    vessel_gain: float

    @classmethod
    def of_patient(cls, seed: int, patient: int) -> Self:
        """The anatomy that `seed` gives this patient number (≥ 0)."""
        rng = random_stream(seed, Stream.ANATOMY, patient)

        def around(mean: float, spread: float) -> float:
            return float(mean + spread * np.clip(rng.normal(), -2.2, 2.2))

        female = bool(rng.random() < 0.5)
        apex_v = around(-0.77, 0.05)
        dome_v = around(0.42, 0.08)
        width = around(0.70, 0.035)
        lean = around(0.0, 0.02)
        drop = around(0.25, 0.045)
        right = LungShape(
            apex_v=apex_v + around(0.0, 0.012),
            apex_a=around(0.27, 0.02),
            width=width + 0.015 + lean,
            base_v=dome_v + drop,
            dome_v=dome_v - 0.015,
            dome_a=around(0.36, 0.04),
            hilum_a=around(0.19, 0.015),
            hilum_v=around(-0.10, 0.03),
        )
        left = LungShape(
            apex_v=apex_v + around(0.0, 0.012),
            apex_a=around(0.27, 0.02),
            width=width - 0.015 - lean,
            base_v=dome_v + drop + around(0.02, 0.02),
            dome_v=dome_v + around(0.055, 0.02),
            dome_a=around(0.40, 0.04),
            hilum_a=around(0.17, 0.015),
            hilum_v=around(-0.14, 0.03),
        )
        return cls(
            sex="F" if female else "M",
            age=int(np.clip(rng.normal(52, 17), 18, 92)),
            right=right,
            left=left,
            heart_width=around(0.235, 0.03),
            heart_reach=around(0.41, 0.045),
            heart_v=dome_v - around(0.12, 0.025),
            aorta=around(0.085, 0.012),
            mediastinum=around(0.155, 0.015),
            torso_width=width + around(0.21, 0.04),
            shoulder_v=around(-0.80, 0.05),
            arm_u=around(1.16, 0.10),
            breast=max(0.0, around(0.10, 0.05)) if female else 0.0,
            soft_tissue=around(0.22, 0.07),
            rib_spacing=around(0.142, 0.009),
            rib_drop=around(0.58, 0.07),
            rib_density=around(1.0, 0.18),
            clavicle_v=apex_v + around(0.17, 0.03),
            clavicle_tilt=around(-0.17, 0.05),
            trachea_u=around(-0.015, 0.012),
            bubble=max(0.0, around(0.055, 0.065)),
            vessel_gain=around(1.0, 0.22),
        )
