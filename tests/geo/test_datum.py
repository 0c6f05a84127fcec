"""WGS-84, GCJ-02 and BD-09: exact there and back in China, the identity elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geo import datum
from geo.motion import distance_m
from geo.outline import MACAU, MAINLAND

PAIRS = list(itertools.permutations(sorted(datum.DATUMS), 2))

in_china = st.tuples(st.floats(73.5, 135.1), st.floats(17.9, 53.6)).filter(
    lambda place: datum.is_shifted(*place)
)
anywhere = st.tuples(st.floats(-180, 180), st.floats(-90, 90))
outline = shapely.Polygon(MAINLAND, [MACAU])


def off_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    return distance_m(*a, *b)


@given(place=in_china, pair=st.sampled_from(PAIRS))
def test_every_place_in_china_survives_the_way_there_and_back(place, pair):
    source, target = pair
    given_in_source = datum.convert(*place, "wgs84", source)
    back = datum.convert(*datum.convert(*given_in_source, source, target), target, source)
    assert off_m(given_in_source, back) < 1e-6
    assert off_m(place, datum.convert(*given_in_source, source, "wgs84")) < 1e-6


@given(place=in_china)
def test_a_way_over_a_third_datum_ends_where_the_straight_one_does(place):
    by_gcj = datum.convert(*datum.convert(*place, "wgs84", "gcj02"), "gcj02", "bd09")
    assert off_m(by_gcj, datum.convert(*place, "wgs84", "bd09")) < 1e-6


@given(place=in_china)
def test_the_shift_is_as_large_as_it_is_known_to_be(place):
    assert 10 < off_m(place, datum.convert(*place, "wgs84", "gcj02")) < 1_200
    gcj = datum.convert(*place, "wgs84", "gcj02")
    assert 400 < off_m(gcj, datum.convert(*gcj, "gcj02", "bd09")) < 1_400


@given(place=in_china, east_m=st.floats(-1, 1), north_m=st.floats(-1, 1), pair=st.sampled_from(PAIRS))
def test_places_a_metre_apart_stay_a_metre_apart(place, east_m, north_m, pair):
    near = (place[0] + east_m / 111_000, place[1] + north_m / 111_000)
    if not datum.is_shifted(*near):
        return
    source, target = pair
    a, b = (datum.convert(*p, "wgs84", source) for p in (place, near))
    before = off_m(a, b)
    after = off_m(datum.convert(*a, source, target), datum.convert(*b, source, target))
    assert abs(after - before) < 0.05


@given(place=anywhere, pair=st.sampled_from(PAIRS))
def test_far_from_china_nothing_changes(place, pair):
    if shapely.distance(outline, shapely.Point(place)) > 0.03:
        assert datum.convert(*place, *pair) == place


@given(places=st.lists(st.one_of(in_china, anywhere), max_size=30), pair=st.sampled_from(PAIRS))
def test_many_at_once_are_what_each_is_alone(places, pair):
    lon, lat = datum.convert_many([p[0] for p in places], [p[1] for p in places], *pair)
    for place, many in zip(places, zip(lon.tolist(), lat.tolist(), strict=True), strict=True):
        assert off_m(datum.convert(*place, *pair), many) < 1e-6


def test_many_leaves_its_arguments_alone_and_keeps_their_shape():
    lon, lat = np.full((2, 3), 121.5), np.full((2, 3), 31.2)
    gcj_lon, gcj_lat = datum.convert_many(lon, lat, "wgs84", "gcj02")
    assert gcj_lon.shape == gcj_lat.shape == (2, 3)
    assert (lon == 121.5).all()
    assert (gcj_lon != 121.5).all()
    same_lon, _ = datum.convert_many(lon, lat, "gcj02", "gcj02")
    assert same_lon is not lon


# The pairs that the tests of googollee/eviltransform (first three) and wandergis/coordtransform hold.
FORWARD = [
    ("wgs84", "gcj02", (121.5272106, 31.1774276), (121.531541859215, 31.17530398364597)),
    ("wgs84", "gcj02", (113.912316, 22.543847), (113.9171764808363, 22.540796131694766)),
    ("wgs84", "gcj02", (116.377817, 39.911954), (116.38404722455657, 39.91334545536069)),
    ("wgs84", "gcj02", (116.404, 39.915), (116.41024449916938, 39.91640428150164)),
    ("gcj02", "bd09", (116.404, 39.915), (116.41036949371029, 39.92133699351021)),
    ("wgs84", "bd09", (116.404, 39.915), (116.41662724378733, 39.922699552216216)),
]


@pytest.mark.parametrize(("source", "target", "place", "expected"), FORWARD)
def test_the_formulae_are_those_of_the_known_libraries(source, target, place, expected):
    assert datum.convert(*place, source, target) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(
    ("source", "target", "place", "expected"),
    [
        ("gcj02", "wgs84", (116.404, 39.915), (116.39775549316407, 39.913596801757805)),
        ("bd09", "gcj02", (116.404, 39.915), (116.39762729119315, 39.90865673957631)),
    ],
)
def test_the_inverse_is_near_the_approximations_of_others(source, target, place, expected):
    assert off_m(datum.convert(*place, source, target), expected) < 0.1


INSIDE = {
    "Beijing": (116.40, 39.90),
    "Shanghai": (121.47, 31.23),
    "Shenzhen": (114.057, 22.543),
    "Luohu gate": (114.118, 22.532),
    "Shekou": (113.915, 22.485),
    "Gongbei gate": (113.549, 22.2185),
    "Hengqin": (113.52, 22.12),
    "Xiamen": (118.09, 24.48),
    "Dadeng": (118.33, 24.56),
    "Pingtan": (119.79, 25.50),
    "Sanya": (109.50, 18.25),
    "Weizhou island": (109.12, 21.04),
    "Shengsi islands": (122.45, 30.73),
    "Kashgar": (75.99, 39.47),
    "Khorgas": (80.41, 44.21),
    "Ruili": (97.855, 24.01),
    "Hekou": (103.955, 22.53),
    "Dongxing": (107.97, 21.545),
    "Zhangmu": (85.98, 27.99),
    "Manzhouli": (117.38, 49.60),
    "Heihe": (127.499, 50.2496),
    "Suifenhe": (131.15, 44.40),
    "Fangchuan": (130.59, 42.43),
    "Dandong": (124.383, 40.129),
    "Erenhot": (111.96, 43.65),
}

OUTSIDE = {
    "Hong Kong": (114.17, 22.28),
    "Lo Wu": (114.113, 22.525),
    "Sheung Shui": (114.128, 22.50),
    "Tuen Mun": (113.97, 22.39),
    "Tai O": (113.86, 22.25),
    "Macau": (113.544, 22.19),
    "Taipa": (113.56, 22.155),
    "Coloane": (113.565, 22.12),
    "Taipei": (121.50, 25.04),
    "Kinmen": (118.32, 24.43),
    "Matsu": (119.93, 26.15),
    "Seoul": (127.00, 37.50),
    "Sinuiju": (124.40, 40.095),
    "Hanoi": (105.85, 21.03),
    "Mong Cai": (107.965, 21.525),
    "Lao Cai": (103.975, 22.485),
    "Muse": (97.90, 23.98),
    "Kathmandu": (85.32, 27.70),
    "Thimphu": (89.64, 27.47),
    "Leh": (77.58, 34.16),
    "Almaty": (76.90, 43.25),
    "Ulaanbaatar": (106.90, 47.90),
    "Zamyn-Uud": (111.90, 43.73),
    "Blagoveshchensk": (127.527, 50.291),
    "Khabarovsk": (135.07, 48.48),
    "Vladivostok": (131.90, 43.10),
    "Tokyo": (139.70, 35.70),
    "London": (-0.13, 51.51),
}


@pytest.mark.parametrize("name", INSIDE)
def test_towns_of_the_mainland_are_shifted(name):
    assert datum.is_shifted(*INSIDE[name])
    assert datum.convert(*INSIDE[name], "wgs84", "gcj02") != INSIDE[name]


@pytest.mark.parametrize("name", OUTSIDE)
def test_hong_kong_macau_taiwan_and_the_neighbours_are_not_shifted(name):
    assert not datum.is_shifted(*OUTSIDE[name])
    for target in ("gcj02", "bd09"):
        assert datum.convert(*OUTSIDE[name], "wgs84", target) == OUTSIDE[name]


@pytest.mark.parametrize("name", ["Hong Kong", "Macau", "Taipei", "Seoul", "Hanoi", "Ulaanbaatar"])
@pytest.mark.parametrize("source", ["gcj02", "bd09"])
def test_what_is_declared_shifted_outside_china_comes_back_as_it_is(name, source):
    assert datum.convert(*OUTSIDE[name], source, "wgs84") == OUTSIDE[name]


def test_the_outline_is_one_sound_polygon():
    assert shapely.is_valid(outline)
    assert len(MAINLAND) < 700


@pytest.mark.parametrize("place", [(float("nan"), 31.0), (float("inf"), 31.0), (121.0, float("-inf"))])
def test_what_is_no_place_comes_back_as_it_is(place):
    assert datum.convert(*place, "gcj02", "wgs84") == pytest.approx(place, nan_ok=True)


@pytest.mark.parametrize("pair", [("wgs84", "cgcs2000"), ("GCJ02", "wgs84"), ("", "")])
def test_an_unknown_datum_is_refused(pair):
    with pytest.raises(ValueError, match="Unknown datum"):
        datum.convert(121.0, 31.0, *pair)
    with pytest.raises(ValueError, match="Unknown datum"):
        datum.convert_many([121.0], [31.0], *pair)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="2 longitudes, but 1 latitudes"):
        datum.convert_many([1.0, 2.0], [1.0], "wgs84", "gcj02")
