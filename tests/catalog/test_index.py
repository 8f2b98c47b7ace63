"""Which tool comes first for which words."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import lexicon
from catalog.index import Index
from catalog.postings import Entry


def entry(tool: str, description: str = "", *parameters: str) -> Entry:
    server, _, name = tool.partition(":")
    return Entry(server, name, "", description, tuple((one, "") for one in parameters))


TOOLS = [
    entry("github:create_pull_request", "Open a new pull request", "owner", "repo", "title"),
    entry("github:list_issues", "List issues of a repository", "owner", "repo", "state"),
    entry("github:create_issue", "Create an issue", "owner", "repo", "title", "body"),
    entry("gitlab:create_issue", "Create an issue in a project", "project_id", "title"),
    entry("filesystem:read_file", "Read the whole content of a file", "path"),
    entry("filesystem:move_file", "Move or rename a file", "source", "destination"),
    entry("filesystem:delete_file", "Delete one file", "path"),
    entry("filesystem:directory_tree", "A nested view of a directory", "path"),
    entry("weather:get_forecast", "The forecast for the next days", "latitude", "longitude"),
    entry("money:exchange_rate", "What one currency is worth in another", "base", "target"),
    entry("chart:generate_word_cloud", "A picture of the most frequent words", "data"),
    entry("kube:list_pods", "List the pods of a namespace", "namespace"),
    entry("mail:send_email", "Send an electronic letter", "to", "subject", "body"),
    entry("speech:transcribe", "Write down what is said in a recording", "file"),
]
IDS = [f"{one.server}:{one.name}" for one in TOOLS]


@pytest.fixture(scope="module")
def index() -> Index:
    return Index(TOOLS, lexicon.load())


def best(index: Index, query: str) -> str:
    hits = index.search(query, 5)
    return IDS[hits[0].tool] if hits else ""


FORMS: list[Callable[[str, str], str]] = [
    lambda server, name: f"{server}.{name}",
    lambda server, name: f"{server}:{name}",
    lambda server, name: f"mcp__{server}__{name}",
    lambda server, name: f"{server} {name}".upper(),
    lambda server, name: server + name.title().replace("_", ""),
]


@pytest.mark.parametrize("tool", IDS)
@pytest.mark.parametrize("form", FORMS, ids=["dot", "colon", "mcp", "shouted", "glued"])
def test_a_tools_own_name_puts_it_first_however_it_is_written(
    index: Index, tool: str, form: Callable[[str, str], str]
) -> None:
    server, _, name = tool.partition(":")
    assert best(index, form(server, name)) == tool


@pytest.mark.parametrize(
    ("query", "tool"),
    [
        ("serach fiels to raed", "filesystem:read_file"),  # codespell:ignore
        ("cretae pul requst", "github:create_pull_request"),  # codespell:ignore
        ("exchnage rate", "money:exchange_rate"),  # codespell:ignore
        ("direcotry", "filesystem:directory_tree"),  # codespell:ignore
        ("wordcloud", "chart:generate_word_cloud"),
        ("pullrequest", "github:create_pull_request"),
        ("dir_tr", "filesystem:directory_tree"),
        ("k8s pods", "kube:list_pods"),
        ("open pr", "github:create_pull_request"),
        ("mv file", "filesystem:move_file"),
        ("rm file", "filesystem:delete_file"),
        ("remove a document", "filesystem:delete_file"),
        ("will it rain tomorrow", "weather:get_forecast"),
        ("dollars to euros", "money:exchange_rate"),
        ("speech to text", "speech:transcribe"),
        ("gitlab issue", "gitlab:create_issue"),
        ("github new issue", "github:create_issue"),
        ("latitude longitude", "weather:get_forecast"),
        ("enviar correo", "mail:send_email"),
        ("天气", "weather:get_forecast"),
    ],
)
def test_a_tool_is_found_by_what_people_type(index: Index, query: str, tool: str) -> None:
    assert best(index, query) == tool


def test_a_path_in_a_query_says_that_a_file_is_meant(index: Index) -> None:
    assert best(index, "read /home/me/github/issues/weather.txt") == "filesystem:read_file"


def test_nonsense_finds_nothing(index: Index) -> None:
    assert index.search("zzqx vvkj", 5) == []


def test_a_filter_is_kept_even_for_an_exact_name(index: Index) -> None:
    hits = index.search("create_issue", 5, lambda tool: TOOLS[tool].server == "gitlab")
    assert [IDS[hit.tool] for hit in hits] == ["gitlab:create_issue"]


def test_every_hit_says_which_words_it_answers(index: Index) -> None:
    (hit, *_) = index.search("pods in a namespace", 5)
    assert hit.why == "pods namespace"


def test_an_empty_index_answers(index: Index) -> None:
    assert Index([], lexicon.load()).search("anything", 5) == []


@given(st.text(max_size=80), st.integers(1, 20))
def test_any_query_gets_an_orderly_answer_and_the_same_one_again(query: str, limit: int) -> None:
    index = Index(TOOLS, lexicon.EMPTY)
    hits = index.search(query, limit)
    assert len({hit.tool for hit in hits}) == len(hits) <= limit
    assert index.search(query, limit) == hits
