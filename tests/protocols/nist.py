"""Data and certified values of NIST's Statistical Reference Datasets (StRD), as scaled integers.

Source: National Institute of Standards and Technology, https://www.itl.nist.gov/div898/strd/ (linear regression:
Longley, Filip, Wampler1 to 5; analysis of variance: AtmWtAg, SmLs01 to 09). Certified values have 15 digits; NIST
computed them in 500-digit arithmetic. The Wampler and SmLs sets are generated, and are so here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CertifiedRegression:
    """Rows with the outcome first; estimate and standard deviation per parameter, the intercept first."""

    rows: tuple[tuple[int, ...], ...]
    decimals: tuple[int, ...]
    parameters: tuple[tuple[float, float], ...]
    residual_standard_deviation: float
    r_squared: float
    f: float | None


LONGLEY = CertifiedRegression(
    rows=(
        (60323, 830, 234289, 2356, 1590, 107608, 1947),
        (61122, 885, 259426, 2325, 1456, 108632, 1948),
        (60171, 882, 258054, 3682, 1616, 109773, 1949),
        (61187, 895, 284599, 3351, 1650, 110929, 1950),
        (63221, 962, 328975, 2099, 3099, 112075, 1951),
        (63639, 981, 346999, 1932, 3594, 113270, 1952),
        (64989, 990, 365385, 1870, 3547, 115094, 1953),
        (63761, 1000, 363112, 3578, 3350, 116219, 1954),
        (66019, 1012, 397469, 2904, 3048, 117388, 1955),
        (67857, 1046, 419180, 2822, 2857, 118734, 1956),
        (68169, 1084, 442769, 2936, 2798, 120445, 1957),
        (66513, 1108, 444546, 4681, 2637, 121950, 1958),
        (68655, 1126, 482704, 3813, 2552, 123366, 1959),
        (69564, 1142, 502601, 3931, 2514, 125368, 1960),
        (69331, 1157, 518173, 4806, 2572, 127852, 1961),
        (70551, 1169, 554894, 4007, 2827, 130081, 1962),
    ),
    decimals=(0, 1, 0, 0, 0, 0, 0),
    parameters=(
        (-3482258.63459582, 890420.383607373),
        (15.0618722713733, 84.9149257747669),
        (-0.358191792925910e-01, 0.334910077722432e-01),
        (-2.02022980381683, 0.488399681651699),
        (-1.03322686717359, 0.214274163161675),
        (-0.511041056535807e-01, 0.226073200069370),
        (1829.15146461355, 455.478499142212),
    ),
    residual_standard_deviation=304.854073561965,
    r_squared=0.995479004577296,
    f=330.285339234588,
)

_FILIP = (  # y at 4 decimals, x at 9
    (8116, -6860120914),
    (9072, -4324130045),
    (9052, -4358625055),
    (9039, -4358426747),
    (8053, -6955852379),
    (8377, -6661145254),
    (8667, -6355462942),
    (8809, -6118102026),
    (7975, -7115148017),
    (8162, -6815308569),
    (8515, -6519993057),
    (8766, -6204119983),
    (8885, -5853871964),
    (8859, -6109523091),
    (8959, -5798329820),
    (8913, -5482672118),
    (8959, -5171791386),
    (8971, -4851705903),
    (9021, -4517126416),
    (9090, -4143573228),
    (9139, -3709075441),
    (9199, -3499489089),
    (8692, -6300769497),
    (8872, -5953504836),
    (8900, -5642065153),
    (8910, -5031376979),
    (8977, -4680685696),
    (9035, -4329846955),
    (9078, -3928486195),
    (7675, -8567351340),
    (7705, -8363211311),
    (7713, -8107682739),
    (7736, -7823908741),
    (7775, -7522878745),
    (7841, -7218819279),
    (7971, -6920818754),
    (8329, -6628932138),
    (8641, -6323946875),
    (8804, -5991399828),
    (7668, -8781464495),
    (7633, -8663140179),
    (7678, -8473531488),
    (7697, -8247337057),
    (7700, -7971428747),
    (7749, -7676129393),
    (7796, -7352812702),
    (7897, -7072065318),
    (8131, -6774174009),
    (8498, -6478861916),
    (8741, -6159517513),
    (8061, -6835647144),
    (8460, -6531652670),
    (8751, -6224098421),
    (8856, -5910094889),
    (8919, -5598599459),
    (8934, -5290645224),
    (8940, -4974284616),
    (8957, -4644548480),
    (9047, -4290560426),
    (9129, -3885055584),
    (9209, -3408378962),
    (9219, -3132002490),
    (7739, -8726767166),
    (7681, -8666955970),
    (7665, -8511026475),
    (7703, -8165388579),
    (7702, -7886056648),
    (7761, -7588043762),
    (7809, -7283412422),
    (7961, -6995678626),
    (8253, -6691862621),
    (8602, -6392544977),
    (8809, -6067374056),
    (8301, -6684029655),
    (8664, -6378719832),
    (8834, -6065855188),
    (8898, -5752272167),
    (8964, -5132414673),
    (8963, -4811352704),
    (9074, -4098269308),
    (9119, -3661742770),
    (9228, -3264401100),
)

FILIP = CertifiedRegression(
    rows=tuple((y, *(x**power for power in range(1, 11))) for y, x in _FILIP),
    decimals=(4, *(9 * power for power in range(1, 11))),
    parameters=(
        (-1467.48961422980, 298.084530995537),
        (-2772.17959193342, 559.779865474950),
        (-2316.37108160893, 466.477572127796),
        (-1127.97394098372, 227.204274477751),
        (-354.478233703349, 71.6478660875927),
        (-75.1242017393757, 15.2897178747400),
        (-10.8753180355343, 2.23691159816033),
        (-1.06221498588947, 0.221624321934227),
        (-0.670191154593408e-01, 0.142363763154724e-01),
        (-0.246781078275479e-02, 0.535617408889821e-03),
        (-0.402962525080404e-04, 0.896632837373868e-05),
    ),
    residual_standard_deviation=0.334801051324544e-02,
    r_squared=0.996727416185620,
    f=2162.43954511489,
)

_DISTURBANCE = (759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048, 2048)
_WAMPLER_ERRORS = (
    2152.32624678170,
    2363.55173469681,
    779.343524331583,
    101.475507550350,
    5.64566512170752,
    0.112324854679312,
)


def wampler(factor: int, residual_standard_deviation: float, r_squared: float, f: float | None) -> CertifiedRegression:
    """Wampler1 (factor 0), 3 (1), 4 (100), 5 (10,000): 1 + x + ... + x^5 at x = 0 to 20, plus factor x disturbance."""
    disturbance = (*_DISTURBANCE, *_DISTURBANCE[-2::-1])
    return CertifiedRegression(
        rows=tuple(
            (sum(x**power for power in range(6)) + factor * disturbance[x], *(x**power for power in range(1, 6)))
            for x in range(21)
        ),
        decimals=(0,) * 6,
        parameters=tuple((1.0, factor * error) for error in _WAMPLER_ERRORS),
        residual_standard_deviation=residual_standard_deviation,
        r_squared=r_squared,
        f=f,
    )


WAMPLER_1 = wampler(0, 0.0, 1.0, None)
WAMPLER_3 = wampler(1, 2360.14502379268, 0.999995559025820, 675524.458240122)
WAMPLER_4 = wampler(100, 236014.502379268, 0.957478440825662, 67.5524458240122)
WAMPLER_5 = wampler(10000, 23601450.2379268, 0.224668921574940e-02, 0.675524458240122e-02)

WAMPLER_2 = CertifiedRegression(
    rows=tuple(
        (sum(x**power * 10 ** (5 - power) for power in range(6)), *(x**power for power in range(1, 6)))
        for x in range(21)
    ),
    decimals=(5, 0, 0, 0, 0, 0),
    parameters=tuple((10.0**-power, 0.0) for power in range(6)),
    residual_standard_deviation=0.0,
    r_squared=1.0,
    f=None,
)


@dataclass(frozen=True, slots=True)
class CertifiedAnova:
    """Scaled values per level; certified sums of squares, mean squares, F and share between levels."""

    levels: tuple[tuple[int, ...], ...]
    decimals: int
    between: tuple[int, float, float]
    within: tuple[int, float, float]
    f: float
    r_squared: float


_SILVER = (  # atomic weights less 107.868, at 7 decimals
    (
        1568,
        1465,
        1572,
        1785,
        1446,
        1903,
        1526,
        1494,
        1616,
        1587,
        1519,
        1486,
        1419,
        1569,
        1508,
        1672,
        1385,
        1518,
        1662,
        1424,
        1360,
        1333,
        1610,
        1477,
    ),
    (
        1079,
        1344,
        1513,
        1197,
        1604,
        1385,
        1642,
        1365,
        1151,
        1082,
        1517,
        1448,
        1198,
        1482,
        1334,
        1609,
        1101,
        1512,
        1469,
        1360,
        1254,
        1261,
        1450,
        1368,
    ),
)

ATMWTAG = CertifiedAnova(
    levels=tuple(tuple(1_078_680_000 + value for value in level) for level in _SILVER),
    decimals=7,
    between=(1, 3.63834187500000e-09, 3.63834187500000e-09),
    within=(46, 1.04951729166667e-08, 2.28155932971014e-10),
    f=1.59467335677930e01,
    r_squared=2.57426544538321e-01,
)


def simon_lesage(offset: int, replicates: int, squares: tuple[float, float], r_squared: float) -> CertifiedAnova:
    """SmLs01 to 09: nine levels about offset + 0.4, each its own value once and 0.1 to either side of it in turn."""
    scaled = (10 * offset + step for step in (4, 3, 5, 3, 5, 3, 5, 3, 5))
    freedom = 9 * (replicates - 1)
    return CertifiedAnova(
        levels=tuple((level, *(level - 1, level + 1) * (replicates // 2)) for level in scaled),
        decimals=1,
        between=(8, squares[0], squares[0] / 8),
        within=(freedom, squares[1], 0.01),
        f=float(replicates),
        r_squared=r_squared,
    )


_SIMON_LESAGE = (
    (21, (1.68, 1.80), 4.82758620689655e-01),
    (201, (16.08, 18.0), 4.71830985915493e-01),
    (2001, (160.08, 180.0), 4.70712773465067e-01),
)
SIMON_LESAGE = tuple(simon_lesage(offset, *rest) for offset in (1, 10**6, 10**12) for rest in _SIMON_LESAGE)
