"""What benchmarks crawl, store and ask about: made-up devices, every second one in Persian."""

DEVICES = 12
DEADLY, SLOWLY = "deadly", "slowly"  # in a question, where bench/dying.py is loaded
PARTS = {
    "en": ("battery", "screen", "charger", "camera", "keyboard"),
    "fa": ("باتری", "صفحه‌نمایش", "شارژر", "دوربین", "صفحه‌کلید"),
}


def language(number: int) -> str:
    return "fa" if number % 2 else "en"


def title(number: int) -> str:
    return f"دستگاه زد {number % DEVICES}" if number % 2 else f"Device Zed {number % DEVICES}"


def markdown(number: int) -> str:
    """Return a page of five sections, about 2,500 characters."""
    return "\n\n".join([f"# {title(number)}", *(_section(number, index) for index in range(5))])


def question(number: int) -> str:
    """Return a question that one page answers; no two numbers share their wording."""
    device, index = number % DEVICES, number // DEVICES % 5
    part = PARTS[language(device)][index]
    if language(device) == "fa":
        return f"{part} {title(device)} چند ساعت کار می‌کند؟ پرسش شماره {number}"
    return f"How many hours does the {part} of the {title(device)} work? Question {number}"


def _section(number: int, index: int) -> str:
    part, hours = PARTS[language(number)][index], 3 + (number * 7 + index * 5) % 40
    if language(number) == "fa":
        lines = [
            f"{part} {title(number)} هر بار {hours} ساعت کار می‌کند.",
            f"پیش از نخستین استفاده، {part} را با دستمال خشک پاک کنید و دفترچهٔ راهنما را بخوانید.",
            f"اگر {part} آسیب دید، آن را به نمایندگی شهر خود ببرید؛ تعمیر تا {hours + 2} روز زمان می‌برد.",
            f"ضمانت {part} تا {hours + 12} ماه پس از خرید معتبر است و با برگهٔ خرید پذیرفته می‌شود.",
        ]
    else:
        lines = [
            f"The {part} of the {title(number)} works for {hours} hours at a time.",
            f"Before first use, wipe the {part} with a dry cloth and read the manual to its end.",
            f"If the {part} is damaged, take it to the dealer in your city; a repair takes up to {hours + 2} days.",
            f"The warranty of the {part} holds for {hours + 12} months from the day of purchase, with the receipt.",
        ]
    return f"## {part}\n\n" + " ".join(lines)
