"""The words of the grammar in every language, one row a concept.

A noun is ``(singular, plural, gender)``; an adjective lists its forms as its language's grammar
reads them; everything else is a fixed string. English is the pivot: its words name the concepts.
"""

from __future__ import annotations

LANGUAGES = ("en", "de", "es", "fr", "it", "zh")

# Persons are subjects and recipients; the plural is never used.
PERSONS: dict[str, dict[str, tuple[str, str]]] = {
    "father": {"de": ("Vater", "m"), "es": ("padre", "m"), "fr": ("père", "m"),
               "it": ("padre", "m"), "zh": ("父亲", "")},
    "mother": {"de": ("Mutter", "f"), "es": ("madre", "f"), "fr": ("mère", "f"),
               "it": ("madre", "f"), "zh": ("母亲", "")},
    "brother": {"de": ("Bruder", "m"), "es": ("hermano", "m"), "fr": ("frère", "m"),
                "it": ("fratello", "m"), "zh": ("哥哥", "")},
    "sister": {"de": ("Schwester", "f"), "es": ("hermana", "f"), "fr": ("sœur", "f"),
               "it": ("sorella", "f"), "zh": ("姐姐", "")},
    "uncle": {"de": ("Onkel", "m"), "es": ("tío", "m"), "fr": ("oncle", "m"),
              "it": ("zio", "m"), "zh": ("叔叔", "")},
    "aunt": {"de": ("Tante", "f"), "es": ("tía", "f"), "fr": ("tante", "f"),
             "it": ("zia", "f"), "zh": ("阿姨", "")},
    "child": {"de": ("Kind", "n"), "es": ("niño", "m"), "fr": ("enfant", "m"),
              "it": ("bambino", "m"), "zh": ("孩子", "")},
    "friend": {"de": ("Freund", "m"), "es": ("amigo", "m"), "fr": ("ami", "m"),
               "it": ("amico", "m"), "zh": ("朋友", "")},
    "teacher": {"de": ("Lehrer", "m"), "es": ("profesor", "m"), "fr": ("professeur", "m"),
                "it": ("professore", "m"), "zh": ("老师", "")},
    "doctor": {"de": ("Arzt", "m"), "es": ("médico", "m"), "fr": ("médecin", "m"),
               "it": ("medico", "m"), "zh": ("医生", "")},
}  # fmt: skip

# Italian drops the article before a possessive with these.
FAMILY = frozenset({"father", "mother", "brother", "sister", "uncle", "aunt"})

# The third field of a Chinese noun is its measure word.
OBJECTS: dict[str, dict[str, tuple[str, str, str]]] = {
    "book": {"en": ("book", "books", ""), "de": ("Buch", "Bücher", "n"),
             "es": ("libro", "libros", "m"), "fr": ("livre", "livres", "m"),
             "it": ("libro", "libri", "m"), "zh": ("书", "书", "本")},
    "apple": {"en": ("apple", "apples", ""), "de": ("Apfel", "Äpfel", "m"),
              "es": ("manzana", "manzanas", "f"), "fr": ("pomme", "pommes", "f"),
              "it": ("mela", "mele", "f"), "zh": ("苹果", "苹果", "个")},
    "car": {"en": ("car", "cars", ""), "de": ("Auto", "Autos", "n"),
            "es": ("coche", "coches", "m"), "fr": ("voiture", "voitures", "f"),
            "it": ("macchina", "macchine", "f"), "zh": ("汽车", "汽车", "辆")},
    "house": {"en": ("house", "houses", ""), "de": ("Haus", "Häuser", "n"),
              "es": ("casa", "casas", "f"), "fr": ("maison", "maisons", "f"),
              "it": ("casa", "case", "f"), "zh": ("房子", "房子", "座")},
    "letter": {"en": ("letter", "letters", ""), "de": ("Brief", "Briefe", "m"),
               "es": ("carta", "cartas", "f"), "fr": ("lettre", "lettres", "f"),
               "it": ("lettera", "lettere", "f"), "zh": ("信", "信", "封")},
    "flower": {"en": ("flower", "flowers", ""), "de": ("Blume", "Blumen", "f"),
               "es": ("flor", "flores", "f"), "fr": ("fleur", "fleurs", "f"),
               "it": ("fiore", "fiori", "m"), "zh": ("花", "花", "朵")},
    "hat": {"en": ("hat", "hats", ""), "de": ("Hut", "Hüte", "m"),
            "es": ("sombrero", "sombreros", "m"), "fr": ("chapeau", "chapeaux", "m"),
            "it": ("cappello", "cappelli", "m"), "zh": ("帽子", "帽子", "顶")},
    "table": {"en": ("table", "tables", ""), "de": ("Tisch", "Tische", "m"),
              "es": ("mesa", "mesas", "f"), "fr": ("table", "tables", "f"),
              "it": ("tavolo", "tavoli", "m"), "zh": ("桌子", "桌子", "张")},
    "key": {"en": ("key", "keys", ""), "de": ("Schlüssel", "Schlüssel", "m"),
            "es": ("llave", "llaves", "f"), "fr": ("clé", "clés", "f"),
            "it": ("chiave", "chiavi", "f"), "zh": ("钥匙", "钥匙", "把")},
    "cup": {"en": ("cup", "cups", ""), "de": ("Tasse", "Tassen", "f"),
            "es": ("taza", "tazas", "f"), "fr": ("tasse", "tasses", "f"),
            "it": ("tazza", "tazze", "f"), "zh": ("杯子", "杯子", "个")},
    "coat": {"en": ("coat", "coats", ""), "de": ("Mantel", "Mäntel", "m"),
             "es": ("abrigo", "abrigos", "m"), "fr": ("manteau", "manteaux", "m"),
             "it": ("cappotto", "cappotti", "m"), "zh": ("大衣", "大衣", "件")},
    "watch": {"en": ("watch", "watches", ""), "de": ("Uhr", "Uhren", "f"),
              "es": ("reloj", "relojes", "m"), "fr": ("montre", "montres", "f"),
              "it": ("orologio", "orologi", "m"), "zh": ("手表", "手表", "块")},
}  # fmt: skip

# de: (predicate, stem before endings); es, it: masculine, feminine, and their plurals;
# fr: the same four (no object begins with a vowel, so `vieil`, `nouvel` and `bel` never occur).
ADJECTIVES: dict[str, dict[str, tuple[str, ...]]] = {
    "red": {"de": ("rot", "rot"), "es": ("rojo", "roja", "rojos", "rojas"),
            "fr": ("rouge", "rouge", "rouges", "rouges"),
            "it": ("rosso", "rossa", "rossi", "rosse"), "zh": ("红色",)},
    "green": {"de": ("grün", "grün"), "es": ("verde", "verde", "verdes", "verdes"),
              "fr": ("vert", "verte", "verts", "vertes"),
              "it": ("verde", "verde", "verdi", "verdi"), "zh": ("绿色",)},
    "blue": {"de": ("blau", "blau"), "es": ("azul", "azul", "azules", "azules"),
             "fr": ("bleu", "bleue", "bleus", "bleues"),
             "it": ("blu", "blu", "blu", "blu"), "zh": ("蓝色",)},
    "white": {"de": ("weiß", "weiß"), "es": ("blanco", "blanca", "blancos", "blancas"),
              "fr": ("blanc", "blanche", "blancs", "blanches"),
              "it": ("bianco", "bianca", "bianchi", "bianche"), "zh": ("白色",)},
    "black": {"de": ("schwarz", "schwarz"), "es": ("negro", "negra", "negros", "negras"),
              "fr": ("noir", "noire", "noirs", "noires"),
              "it": ("nero", "nera", "neri", "nere"), "zh": ("黑色",)},
    "big": {"de": ("groß", "groß"), "es": ("grande", "grande", "grandes", "grandes"),
            "fr": ("grand", "grande", "grands", "grandes"),
            "it": ("grande", "grande", "grandi", "grandi"), "zh": ("大",)},
    "small": {"de": ("klein", "klein"), "es": ("pequeño", "pequeña", "pequeños", "pequeñas"),
              "fr": ("petit", "petite", "petits", "petites"),
              "it": ("piccolo", "piccola", "piccoli", "piccole"), "zh": ("小",)},
    "old": {"de": ("alt", "alt"), "es": ("viejo", "vieja", "viejos", "viejas"),
            "fr": ("vieux", "vieille", "vieux", "vieilles"),
            "it": ("vecchio", "vecchia", "vecchi", "vecchie"), "zh": ("旧",)},
    "new": {"de": ("neu", "neu"), "es": ("nuevo", "nueva", "nuevos", "nuevas"),
            "fr": ("nouveau", "nouvelle", "nouveaux", "nouvelles"),
            "it": ("nuovo", "nuova", "nuovi", "nuove"), "zh": ("新",)},
    "beautiful": {"de": ("schön", "schön"), "es": ("bonito", "bonita", "bonitos", "bonitas"),
                  "fr": ("beau", "belle", "beaux", "belles"),
                  "it": ("bello", "bella", "belli", "belle"), "zh": ("漂亮",)},
    "expensive": {"de": ("teuer", "teur"), "es": ("caro", "cara", "caros", "caras"),
                  "fr": ("cher", "chère", "chers", "chères"),
                  "it": ("caro", "cara", "cari", "care"), "zh": ("贵",)},
}  # fmt: skip
COLOURS = ("red", "green", "blue", "white", "black")
QUALITIES = ("big", "small", "old", "new", "beautiful", "expensive")

# (third person singular present, infinitive)
TRANSITIVE: dict[str, dict[str, tuple[str, str]]] = {
    "buy": {"en": ("buys", "buy"), "de": ("kauft", "kaufen"), "es": ("compra", "comprar"),
            "fr": ("achète", "acheter"), "it": ("compra", "comprare"), "zh": ("买", "买")},
    "sell": {"en": ("sells", "sell"), "de": ("verkauft", "verkaufen"), "es": ("vende", "vender"),
             "fr": ("vend", "vendre"), "it": ("vende", "vendere"), "zh": ("卖", "卖")},
    "see": {"en": ("sees", "see"), "de": ("sieht", "sehen"), "es": ("ve", "ver"),
            "fr": ("voit", "voir"), "it": ("vede", "vedere"), "zh": ("看", "看")},
    "find": {"en": ("finds", "find"), "de": ("findet", "finden"), "es": ("encuentra", "encontrar"),
             "fr": ("trouve", "trouver"), "it": ("trova", "trovare"), "zh": ("找", "找")},
    "paint": {"en": ("paints", "paint"), "de": ("malt", "malen"), "es": ("pinta", "pintar"),
              "fr": ("peint", "peindre"), "it": ("dipinge", "dipingere"), "zh": ("画", "画")},
    "bring": {"en": ("brings", "bring"), "de": ("bringt", "bringen"), "es": ("trae", "traer"),
              "fr": ("apporte", "apporter"), "it": ("porta", "portare"), "zh": ("带", "带")},
    "lose": {"en": ("loses", "lose"), "de": ("verliert", "verlieren"), "es": ("pierde", "perder"),
             "fr": ("perd", "perdre"), "it": ("perde", "perdere"), "zh": ("丢", "丢")},
    "love": {"en": ("loves", "love"), "de": ("liebt", "lieben"), "es": ("ama", "amar"),
             "fr": ("aime", "aimer"), "it": ("ama", "amare"), "zh": ("爱", "爱")},
}  # fmt: skip
INTRANSITIVE: dict[str, dict[str, tuple[str, str]]] = {
    "sleep": {"en": ("sleeps", "sleep"), "de": ("schläft", "schlafen"), "es": ("duerme", "dormir"),
              "fr": ("dort", "dormir"), "it": ("dorme", "dormire"), "zh": ("睡觉", "睡觉")},
    "work": {"en": ("works", "work"), "de": ("arbeitet", "arbeiten"), "es": ("trabaja", "trabajar"),
             "fr": ("travaille", "travailler"), "it": ("lavora", "lavorare"), "zh": ("工作", "工作")},
    "sing": {"en": ("sings", "sing"), "de": ("singt", "singen"), "es": ("canta", "cantar"),
             "fr": ("chante", "chanter"), "it": ("canta", "cantare"), "zh": ("唱歌", "唱歌")},
    "wait": {"en": ("waits", "wait"), "de": ("wartet", "warten"), "es": ("espera", "esperar"),
             "fr": ("attend", "attendre"), "it": ("aspetta", "aspettare"), "zh": ("等", "等")},
    "play": {"en": ("plays", "play"), "de": ("spielt", "spielen"), "es": ("juega", "jugar"),
             "fr": ("joue", "jouer"), "it": ("gioca", "giocare"), "zh": ("玩", "玩")},
    "dance": {"en": ("dances", "dance"), "de": ("tanzt", "tanzen"), "es": ("baila", "bailar"),
              "fr": ("danse", "danser"), "it": ("balla", "ballare"), "zh": ("跳舞", "跳舞")},
}  # fmt: skip
MODALS = {
    "can": {"en": "can", "de": "kann", "es": "puede", "fr": "peut", "it": "può", "zh": "能"},
    "must": {"en": "must", "de": "muss", "es": "debe", "fr": "doit", "it": "deve", "zh": "必须"},
    "want": {"en": "wants to", "de": "will", "es": "quiere", "fr": "veut", "it": "vuole",
             "zh": "想"},
}  # fmt: skip
TIMES = {
    "today": {"en": "today", "de": "heute", "es": "hoy", "fr": "aujourd'hui", "it": "oggi",
              "zh": "今天"},
    "tomorrow": {"en": "tomorrow", "de": "morgen", "es": "mañana", "fr": "demain",
                 "it": "domani", "zh": "明天"},
    "now": {"en": "now", "de": "jetzt", "es": "ahora", "fr": "maintenant", "it": "adesso",
            "zh": "现在"},
    "sunday": {"en": "on Sunday", "de": "am Sonntag", "es": "el domingo", "fr": "dimanche",
               "it": "domenica", "zh": "星期天"},
    "always": {"en": "every day", "de": "jeden Tag", "es": "todos los días",
               "fr": "tous les jours", "it": "ogni giorno", "zh": "每天"},
    "often": {"en": "often", "de": "oft", "es": "a menudo", "fr": "souvent", "it": "spesso",
              "zh": "经常"},
}  # fmt: skip
PLACES = {
    "garden": {"en": "in the garden", "de": "im Garten", "es": "en el jardín",
               "fr": "dans le jardin", "it": "nel giardino", "zh": "在花园里"},
    "kitchen": {"en": "in the kitchen", "de": "in der Küche", "es": "en la cocina",
                "fr": "dans la cuisine", "it": "in cucina", "zh": "在厨房里"},
    "market": {"en": "at the market", "de": "auf dem Markt", "es": "en el mercado",
               "fr": "au marché", "it": "al mercato", "zh": "在市场"},
    "city": {"en": "in the city", "de": "in der Stadt", "es": "en la ciudad", "fr": "en ville",
             "it": "in città", "zh": "在城里"},
    "school": {"en": "at school", "de": "in der Schule", "es": "en la escuela",
               "fr": "à l'école", "it": "a scuola", "zh": "在学校"},
    "park": {"en": "in the park", "de": "im Park", "es": "en el parque", "fr": "dans le parc",
             "it": "nel parco", "zh": "在公园里"},
    "station": {"en": "at the station", "de": "am Bahnhof", "es": "en la estación",
                "fr": "à la gare", "it": "alla stazione", "zh": "在车站"},
}  # fmt: skip
NUMBERS = {
    "two": {"en": "two", "de": "zwei", "es": "dos", "fr": "deux", "it": "due", "zh": "两"},
    "three": {"en": "three", "de": "drei", "es": "tres", "fr": "trois", "it": "tre", "zh": "三"},
    "four": {"en": "four", "de": "vier", "es": "cuatro", "fr": "quatre", "it": "quattro",
             "zh": "四"},
    "five": {"en": "five", "de": "fünf", "es": "cinco", "fr": "cinq", "it": "cinque",
             "zh": "五"},
    "six": {"en": "six", "de": "sechs", "es": "seis", "fr": "six", "it": "sei", "zh": "六"},
    "seven": {"en": "seven", "de": "sieben", "es": "siete", "fr": "sept", "it": "sette",
              "zh": "七"},
}  # fmt: skip
QUESTIONS = {
    "where": {"en": "where", "de": "wo", "es": "dónde", "fr": "où", "it": "dove",
              "zh": "在哪里"},
    "when": {"en": "when", "de": "wann", "es": "cuándo", "fr": "quand", "it": "quando",
             "zh": "什么时候"},
    "why": {"en": "why", "de": "warum", "es": "por qué", "fr": "pourquoi", "it": "perché",
            "zh": "为什么"},
}  # fmt: skip
# the copula with its degree
COPULAS = {
    "very": {"en": "is very", "de": "ist sehr", "es": "es muy", "fr": "est très",
             "it": "è molto", "zh": "很"},
    "too": {"en": "is too", "de": "ist zu", "es": "es demasiado", "fr": "est trop",
            "it": "è troppo", "zh": "太"},
    "not": {"en": "is not", "de": "ist nicht", "es": "no es", "fr": "n'est pas", "it": "non è",
            "zh": "不"},
}  # fmt: skip
