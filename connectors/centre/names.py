"""Names of people who do not exist: lists to combine. Data only."""

__all__ = ["AGENT_NAMES", "CHINESE_AGENT_NAMES", "CHINESE_FAMILY", "CHINESE_GIVEN", "FAMILY", "GIVEN"]

GIVEN = (
    "Ada", "Amir", "Ann", "Anton", "Bea", "Ben", "Cara", "Carl", "Dana", "Dev", "Edith", "Elias", "Emma", "Erik", "Faye", "Felix", "Gita", "Greta",
    "Hana", "Hugo", "Ida", "Ivan", "Jana", "Jonas", "Kai", "Kira", "Lars", "Lea", "Liam", "Lotte", "Mara", "Max", "Mia", "Milan", "Nadia", "Nils",
    "Nora", "Olga", "Omar", "Paul", "Pia", "Quentin", "Rosa", "Ruth", "Sami", "Selma", "Tara", "Theo", "Uma", "Vera", "Wanda", "Yara", "Zoe",
)  # fmt: skip
FAMILY = (
    "Abbott", "Adler", "Ashdown", "Bergmann", "Birch", "Brooks", "Castle", "Cole", "Dietrich", "Drew", "Ebert", "Ellery", "Falk", "Farrow", "Frey",
    "Gale", "Grant", "Haas", "Hale", "Hartwig", "Holm", "Iyer", "Jansen", "Jessop", "Kaya", "Keller", "Kerr", "Lange", "Larkin", "Lund", "Marsh",
    "Mertens", "Moss", "Nolan", "Novak", "Oakley", "Ohm", "Penn", "Peters", "Quill", "Rademacher", "Reed", "Rowe", "Sander", "Shaw", "Stein",
    "Thorne", "Ulrich", "Vance", "Vogt", "Wade", "Weber", "Wells", "Yates", "Zeller",
)  # fmt: skip
CHINESE_FAMILY = (
    ("王", "wang"), ("李", "li"), ("张", "zhang"), ("刘", "liu"), ("陈", "chen"), ("杨", "yang"), ("赵", "zhao"), ("黄", "huang"), ("周", "zhou"),
    ("吴", "wu"), ("徐", "xu"), ("孙", "sun"), ("胡", "hu"), ("朱", "zhu"), ("高", "gao"), ("林", "lin"), ("何", "he"), ("郭", "guo"), ("马", "ma"),
    ("罗", "luo"),
)  # fmt: skip
CHINESE_GIVEN = (
    ("伟", "wei"), ("芳", "fang"), ("娜", "na"), ("敏", "min"), ("静", "jing"), ("丽", "li"), ("强", "qiang"), ("磊", "lei"), ("军", "jun"),
    ("洋", "yang"), ("勇", "yong"), ("艳", "yan"), ("杰", "jie"), ("娟", "juan"), ("涛", "tao"), ("明", "ming"), ("超", "chao"), ("秀英", "xiuying"),
    ("雨桐", "yutong"), ("子涵", "zihan"), ("浩然", "haoran"), ("思远", "siyuan"), ("晓梅", "xiaomei"), ("建国", "jianguo"), ("欣怡", "xinyi"),
)  # fmt: skip
AGENT_NAMES = ("Lena", "Tom", "Priya", "Marek", "Sofia", "Jon", "Aisha", "Nico", "Clara", "Ravi", "Elena", "Sven")
CHINESE_AGENT_NAMES = ("小林", "小周", "小何", "小马", "小杨", "小陈")
