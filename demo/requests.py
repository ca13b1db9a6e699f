"""The change requests of the demo: believable work on the flights of 2013, each computed from the data itself.

Between them they show every state that a request can be in: ready, needing review, in conflict with a later
merged one, above the delete limit, breaking a rule of the data, sent back, rejected, in draft and merged.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Remark:
    """A comment on the request, or on one row or cell of it; ``answers`` holds the replies."""

    author: str
    body: str
    row_key: dict[str, Any] | None = None
    column: str = ""
    answers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A review."""

    reviewer: str
    verdict: Literal["approve", "request_changes", "comment"]
    body: str = ""


@dataclass(frozen=True)
class DemoRequest:
    """One change request; ``rows`` is SQL over the tables of ``flights`` that yields the proposed rows."""

    dataset: str
    author: str
    title: str
    description: str
    file_name: str
    rows: str
    submitted: bool = True
    remarks: tuple[Remark, ...] = field(default_factory=tuple)
    verdicts: tuple[Verdict, ...] = field(default_factory=tuple)
    merged_by: str = ""
    rejected_by: str = ""
    rejected_because: str = ""


MIDNIGHT_AS_ZERO = DemoRequest(
    dataset="flights",
    author="olivia",
    title="Write a departure at midnight as 0, not as 2400",
    description=(
        "29 departures carry the clock time 2400. A clock has no such time: scheduled times use 0 to 2359, and "
        "every job that computes minutes from dep_time gets one day too many."
    ),
    file_name="midnight-as-zero.csv",
    rows="""
        SELECT time_hour, flight, carrier, origin, 0 AS dep_time
        FROM flights WHERE dep_time = 2400 ORDER BY ALL
    """,
    remarks=(Remark("carl", "Checked five of them against the airport's log: all left within the minute."),),
    verdicts=(Verdict("carl", "approve", "Agreed, 0 it is."),),
    merged_by="olivia",
)
MIDNIGHT_AS_THE_DAY_BEFORE = DemoRequest(
    dataset="flights",
    author="carl",
    title="Count midnight to the day before: 2400 becomes 2359",
    description=(
        "Departures and arrivals at 2400 belong to the evening in which the flight was scheduled. Writing them as "
        "2359 keeps them on their day in every report by date, at the price of one minute."
    ),
    file_name="midnight-as-2359.csv",
    rows="""
        SELECT time_hour, flight, carrier, origin,
               if(dep_time = 2400, 2359, dep_time) AS dep_time,
               if(arr_time = 2400, 2359, arr_time) AS arr_time
        FROM flights WHERE dep_time = 2400 OR arr_time = 2400 ORDER BY ALL
    """,
    remarks=(
        Remark(
            "olivia",
            "We have just merged 0 for the 29 departures. Which of the two do the reports by date expect?",
            answers=(
                ("carl", "The arrivals need 2359. For the departures I can live with 0: keep current there."),
            ),
        ),
    ),
)
MISSING_TAIL_NUMBERS = DemoRequest(
    dataset="flights",
    author="carl",
    title="Fill in 50 missing tail numbers of Endeavor Air",
    description=(
        "Cancelled flights of Endeavor Air (9E) often lack the tail number. For these 50 it is taken from the plane "
        "that flew the same flight number from the same airport most often in the same month."
    ),
    file_name="missing-tail-numbers.csv",
    rows="""
        WITH usual AS (
            SELECT carrier, flight, origin, month, tailnum, count(*) AS times
            FROM flights WHERE tailnum IS NOT NULL AND carrier = '9E' GROUP BY ALL
        ), best AS (
            SELECT carrier, flight, origin, month, first(tailnum ORDER BY times DESC, tailnum) AS tailnum
            FROM usual GROUP BY ALL
        )
        SELECT missing.time_hour, missing.flight, missing.carrier, missing.origin, best.tailnum
        FROM flights AS missing JOIN best USING (carrier, flight, origin, month)
        WHERE missing.tailnum IS NULL ORDER BY ALL LIMIT 50
    """,
    remarks=(
        Remark(
            "olivia",
            "Is the usual plane good enough for a flight that never left?",
            answers=(
                ("carl", "Yes: it is the plane that dispatch had planned. I compared ten with their log."),
            ),
        ),
    ),
    verdicts=(Verdict("olivia", "approve", "Thank you, this closes the gap in the fleet report."),),
)
CANCELLED_FLIGHTS = DemoRequest(
    dataset="flights",
    author="carl",
    title="Drop the flights that never left",
    description=(
        "7,211 flights of 2013 were cancelled. Most averages leave them out anyway, and every new colleague trips over "
        "the NULLs. Endeavor's stay until their tail numbers are filled in."
    ),
    file_name="cancelled-flights.parquet",
    rows="""
        SELECT time_hour, flight, carrier, origin, 'delete' AS _op
        FROM flights WHERE dep_time IS NULL AND carrier <> '9E' ORDER BY ALL
    """,
    remarks=(
        Remark(
            "olivia", "This is a large cut. I agree with it for this table; the archive keeps the full year."
        ),
    ),
    verdicts=(Verdict("olivia", "approve"),),
)
AIR_TIME_FROM_THE_CLOCK = DemoRequest(
    dataset="flights",
    author="carl",
    title="Compute the air time of Virgin America in July from the clock",
    description=(
        "air_time comes from another source than the departure and arrival times and does not always fit them. "
        "Here it is arrival minus departure, in minutes."
    ),
    file_name="air-time-july.parquet",
    rows="""
        SELECT time_hour, flight, carrier, origin,
               (arr_time // 100 * 60 + arr_time % 100) - (dep_time // 100 * 60 + dep_time % 100) AS air_time
        FROM flights WHERE carrier = 'VX' AND month = 7 AND air_time IS NOT NULL ORDER BY ALL
    """,
    remarks=(
        Remark(
            "carl",
            "This one left at 21:58 and landed at 0:52, three time zones to the west. Help?",
            row_key={
                "time_hour": "2013-07-04T00:00:00+00:00",
                "flight": 415,
                "carrier": "VX",
                "origin": "JFK",
            },
            column="air_time",
        ),
    ),
)
CARIBBEAN_AIRPORTS = DemoRequest(
    dataset="airports",
    author="olivia",
    title="Add the four Caribbean airports that flights go to",
    description=(
        "7,602 flights go to BQN, PSE, SJU and STT, and none of the four is in the table, so every join loses them."
    ),
    file_name="caribbean-airports.csv",
    rows="""
        SELECT * FROM (VALUES
            ('BQN', 'Rafael Hernandez', 18.494861, -67.129444, 237, -4, 'N', 'America/Puerto_Rico', 'insert'),
            ('PSE', 'Mercedita', 18.008306, -66.563028, 29, -4, 'N', 'America/Puerto_Rico', 'insert'),
            ('SJU', 'Luis Munoz Marin Intl', 18.439417, -66.001833, 9, -4, 'N', 'America/Puerto_Rico', 'insert'),
            ('STT', 'Cyril E King', 18.337306, -64.973361, 23, -4, 'N', 'America/St_Thomas', 'insert')
        ) AS added (faa, name, lat, lon, alt, tz, dst, tzone, _op)
    """,
    verdicts=(Verdict("carl", "approve", "Coordinates checked. Finally no lost flights in the map."),),
)
SWAPPED_COORDINATES = DemoRequest(
    dataset="airports",
    author="carl",
    title="Put Dillant Hopkins back into New Hampshire",
    description=(
        "EEN has latitude and longitude swapped (and the sign lost), which puts it into the ice of Greenland. EEN, "
        "LRO and YAK also lack their time zone."
    ),
    file_name="airports-corrected.csv",
    rows="""
        SELECT faa,
               if(faa = 'EEN', lon, lat) AS lat,
               if(faa = 'EEN', -lat, lon) AS lon,
               if(faa = 'YAK', 'America/Anchorage', 'America/New_York') AS tzone
        FROM airports WHERE tzone IS NULL ORDER BY ALL
    """,
)
RENAMED_NEWARK = DemoRequest(
    dataset="airports",
    author="carl",
    title="Rename Newark to New York Newark",
    description="Travellers look for it under New York.",
    file_name="newark.csv",
    rows="SELECT faa, 'New York Newark Intl' AS name FROM airports WHERE faa = 'EWR'",
    rejected_by="olivia",
    rejected_because="The names are the FAA's own. A column for search terms would be the place for this.",
)
ONE_NAME_PER_MANUFACTURER = DemoRequest(
    dataset="planes",
    author="carl",
    title="One name for each manufacturer",
    description=(
        "AIRBUS INDUSTRIE is AIRBUS since 2001, and MCDONNELL DOUGLAS stands in the table under three names. 517 "
        "planes get the name that the maker uses itself."
    ),
    file_name="manufacturers.csv",
    rows="""
        SELECT tailnum, if(manufacturer LIKE 'AIRBUS%', 'AIRBUS', 'MCDONNELL DOUGLAS') AS manufacturer
        FROM planes
        WHERE manufacturer IN (
            'AIRBUS INDUSTRIE', 'MCDONNELL DOUGLAS AIRCRAFT CO', 'MCDONNELL DOUGLAS CORPORATION'
        )
        ORDER BY ALL
    """,
)
SEATS_OF_THE_A321 = DemoRequest(
    dataset="planes",
    author="carl",
    title="Correct the seats of the Airbus A321-231",
    description="The registry lists 379 seats for 51 of them, which is the number for an A330. An A321 has 199.",
    file_name="a321-seats.csv",
    rows="SELECT tailnum, 199 AS seats FROM planes WHERE model = 'A321-231' AND seats = 379 ORDER BY ALL",
    verdicts=(
        Verdict(
            "olivia",
            "request_changes",
            "US Airways flies them with 183 seats and JetBlue with 190. Please use the airlines' own numbers.",
        ),
    ),
)
NOT_AN_AIRLINER = DemoRequest(
    dataset="planes",
    author="carl",
    title="Planes that cannot be what flew",
    description=(
        "Piston planes that share a tail number with an airliner of American or JetBlue. Still collecting what "
        "really flew under these numbers."
    ),
    file_name="piston-planes.csv",
    rows="""
        SELECT tailnum, 'delete' AS _op FROM planes WHERE engine IN ('Reciprocating', '4 Cycle') ORDER BY ALL
    """,
    submitted=False,
)
AGE_OF_THE_PLANES = DemoRequest(
    dataset="planes",
    author="olivia",
    title="Add the age of each plane in 2013",
    description="A new column, age_in_2013, for the 3,252 planes whose year of manufacture is known.",
    file_name="age-of-planes.parquet",
    rows="SELECT tailnum, 2013 - year AS age_in_2013 FROM planes WHERE year IS NOT NULL ORDER BY ALL",
)
IMPOSSIBLE_WIND = DemoRequest(
    dataset="weather",
    author="olivia",
    title="Remove the impossible wind of 12 February",
    description="Newark reports 1,048 mph at 8:00 UTC, faster than sound. The station gives no other value: NULL.",
    file_name="impossible-wind.csv",
    rows="SELECT origin, time_hour, NULL::DOUBLE AS wind_speed FROM weather WHERE wind_speed > 200",
)

#: In the order in which they are proposed.
DEMO_REQUESTS = (
    MIDNIGHT_AS_ZERO,
    RENAMED_NEWARK,
    MIDNIGHT_AS_THE_DAY_BEFORE,
    MISSING_TAIL_NUMBERS,
    CANCELLED_FLIGHTS,
    AIR_TIME_FROM_THE_CLOCK,
    CARIBBEAN_AIRPORTS,
    SWAPPED_COORDINATES,
    ONE_NAME_PER_MANUFACTURER,
    SEATS_OF_THE_A321,
    AGE_OF_THE_PLANES,
    IMPOSSIBLE_WIND,
    NOT_AN_AIRLINER,
)
