"""What the evaluate stage gathers. A new kind of score is a Collector, listed here."""

from __future__ import annotations

from orbit2.evaluate.anomalies import Anomalies
from orbit2.evaluate.ceiling import Ceiling
from orbit2.evaluate.climate import ClimateIndices
from orbit2.evaluate.conservation import Conservation
from orbit2.evaluate.distribution import Distribution
from orbit2.evaluate.ensembles import Ensembles
from orbit2.evaluate.fractions import Fractions
from orbit2.evaluate.harmonics import Harmonics
from orbit2.evaluate.images import Density, Maps, Similarity
from orbit2.evaluate.member_structure import MemberStructure
from orbit2.evaluate.objects import Objects
from orbit2.evaluate.order import Order
from orbit2.evaluate.overtime import OverTime
from orbit2.evaluate.own_tails import OwnTails
from orbit2.evaluate.paper import PaperScores
from orbit2.evaluate.scores import Scores
from orbit2.evaluate.seams import SeamScores
from orbit2.evaluate.spectra import Spectra
from orbit2.evaluate.structure import FineStructure
from orbit2.evaluate.tails import Tails
from orbit2.metrics.collector import Collector

COLLECTORS: tuple[type[Collector], ...] = (
    Scores, Similarity, Maps, Density, Conservation, Spectra, SeamScores, FineStructure, Distribution,
    ClimateIndices, Order, Ensembles, MemberStructure, Tails, OwnTails, Anomalies, OverTime, Fractions, Objects, Harmonics, PaperScores,
    Ceiling,
)  # fmt: skip
