"""Dates as people read them: the Gregorian calendar in English, the solar Hijri calendar in Persian."""

from datetime import date

from django.utils.formats import date_format

from chat.rendering import local_digits

MONTHS = (
    "فروردین", "اردیبهشت", "خرداد", "تیر", "مرداد", "شهریور", "مهر", "آبان", "آذر", "دی", "بهمن", "اسفند",
)  # fmt: skip
# Leap years fall on the same places of each 33 years, which is right from 1178 to 1633 (1799 to 2255).
# Source: K. Borkowski, The Persian calendar for 3000 years (Earth, Moon, and Planets 74, 1996).
CYCLE_YEARS, CYCLE_DAYS = 33, 12_053
LEAP_PLACES = {1, 5, 9, 13, 17, 22, 26, 30}
CYCLE_BEGINS = (date(2008, 3, 20), 1387)  # 1 Farvardin of a year in the first place
LONG_MONTHS, LONG_MONTH_DAYS, SHORT_MONTH_DAYS = 6, 31, 30


def shown_date(day: date, language: str) -> str:
    """Return «۱ آذر ۱۴۰۵» in Persian, "Nov. 22, 2026" in English."""
    if language != "fa":
        return date_format(day, "DATE_FORMAT")
    year, month, of_month = solar_hijri(day)
    return local_digits(f"{of_month} {MONTHS[month - 1]} {year}", "rtl")


def solar_hijri(day: date) -> tuple[int, int, int]:
    """Return the day as year, month and day of the solar Hijri calendar."""
    first_day, year = CYCLE_BEGINS
    cycles, left = divmod(day.toordinal() - first_day.toordinal(), CYCLE_DAYS)
    year += cycles * CYCLE_YEARS
    while left >= (length := 366 if year % CYCLE_YEARS in LEAP_PLACES else 365):
        left -= length
        year += 1
    if left < LONG_MONTHS * LONG_MONTH_DAYS:
        month, of_month = divmod(left, LONG_MONTH_DAYS)
    else:
        month, of_month = divmod(left - LONG_MONTHS * LONG_MONTH_DAYS, SHORT_MONTH_DAYS)
        month += LONG_MONTHS
    return year, month + 1, of_month + 1
