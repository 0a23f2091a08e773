"""CSV and its relatives, Parquet, Feather: what is read as what, and each kind of bad file."""

import codecs
import contextlib
import gzip
import lzma
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.files import ONES, SVMLIGHT, write, write_idx_folder

from asysvrg import data

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    ("content", "y"),
    [
        ("1,2,0\n3,4.5,1\n", [0, 1]),
        ("1,2,0.5\n3,4.5,1\n", [0.5, 1]),
        ("1,2,setosa\n3,4.5,virginica\n", ["setosa", "virginica"]),
        ("a,b,y\n1,2,0\n3,4.5,1\n", [0, 1]),
        ("a,b,y\r\n1,2,u\r\n\r\n3,4.5,v\r\n", ["u", "v"]),
        ("0,1,target\n1,2,0\n3,4.5,1\n", [0, 1]),
        ('"a, x";b;y\n1;2;0\n3;4.5;1\n', [0, 1]),
        ("\ufeffa\tb\ty\n1\t2\t0\n3\t4.5\t1", [0, 1]),
        ('"height, cm"|"weight | kg"|"y"\n1|2|0\n3|4.5|1\n', [0, 1]),
        ("a b  y\n1   2 u\n  3 4.5 v \n", ["u", "v"]),
        ("# a,b,y\n1,2,0\n3,4.5,1\n", [0, 1]),
        ("\ufeff# a b y\n1 2 0\n3 4.5 1\n", [0, 1]),
        ('a,b,"the\ntarget"\n1,2,0\n3,4.5,1\n', [0, 1]),
        ("a,b,y\r1,2,0\r3,4.5,1\r", [0, 1]),
        ("True,False,0\n", None),
    ],
)
def test_csv(tmp_path, content, y):
    for path in (write(tmp_path, "a.csv", content), write(tmp_path, "a.data", content)):
        X, target = data.load_file(path)
        assert X.tolist() == ([[1, 2], [3, 4.5]] if y else [[1, 0]])
        assert X.dtype == np.float64
        assert X.flags.c_contiguous
        assert X.flags.writeable
        if y:
            assert target.tolist() == y
            assert target.dtype.kind == {int: "i", float: "f", str: "U"}[type(y[0])]


@pytest.mark.parametrize(
    ("labels", "y"),
    [
        (["01", "02"], ["01", "02"]),
        (["1_11", "1_12"], ["1_11", "1_12"]),
        (["1", "01"], ["1", "01"]),
        (["+1", "-1"], [1, -1]),
        (["1.0", "2.0"], [1, 2]),
        (["1.5", "2"], [1.5, 2.0]),
        (["1e3", ".5"], [1000.0, 0.5]),
        (["True", "False"], ["True", "False"]),
        (["0x1", "0x2"], ["0x1", "0x2"]),
        (["1", "x"], ["1", "x"]),
        (["12345678901234567890", "12345678901234567891"], ["12345678901234567890", "12345678901234567891"]),
        (["9007199254740993", "9007199254740992"], [9007199254740993, 9007199254740992]),
        (["1,5", "2"], ["1,5", "2"]),
        (["New York", " two"], ["New York", "two"]),
    ],
)
def test_labels_are_what_is_written(tmp_path, labels, y):
    path = write(tmp_path, "a.csv", "a,y\n" + "".join(f'{i},"{label}"\n' for i, label in enumerate(labels)))
    found = data.load_file(path)[1].tolist()
    assert found == [text if text != "two" else " two" for text in y]  # a quoted blank stays
    assert [type(value) for value in found] == [type(value) for value in y]


@pytest.mark.parametrize("target", ["b", 1, "1", np.int64(1)])
def test_csv_target(tmp_path, target):
    for name, pack in (("a.csv.gz", gzip.compress), ("a.csv.xz", lzma.compress)):
        X, y = data.load_file(write(tmp_path, name, pack(b"a,b,c\n1,x,2\n3,z,4\n")), target)
        assert X.tolist() == [[1, 2], [3, 4]]
        assert y.tolist() == ["x", "z"]


def test_csv_without_targets(tmp_path):
    path = write(tmp_path, "a.csv", "a,b\n1,2\n3,4\n")
    X, y = data.load_file(path, False)
    assert X.tolist() == [[1, 2], [3, 4]]
    assert y is None


def test_csv_is_split_by_text_classes(tmp_path):
    path = write(tmp_path, "a.csv", "".join(f"{i},{'uv'[i % 2]}\n" for i in range(20)))
    d = data.load(path, target=1)
    assert sorted(d.y_test) == ["u", "u", "v", "v"]
    assert all("uv"[int(x) % 2] == y for x, y in zip(d.X_train[:, 0], d.y_train, strict=True))


def test_delimiter_and_decimal_commas(tmp_path):
    path = write(tmp_path, "a.csv", "150,5;50,5;0,5\n1;2,5;3\n")
    with pytest.raises(ValueError, match=r"column '0' holds the text '150,5' in row 0.*--decimal ,"):
        data.load_file(path)
    X, y = data.load_file(path, decimal=",")
    assert X.tolist() == [[150.5, 50.5], [1, 2.5]]
    assert y.tolist() == [0.5, 3]
    odd = write(tmp_path, "b.csv", "1:2:u v\n3:4:w,x\n")
    assert data.load_file(odd, delimiter=":")[0].tolist() == [[1, 2], [3, 4]]
    tabs = write(tmp_path, "c.csv", "1\t2\tu,v\n3\t4\tw,x\n")
    for delimiter in ("tab", "\\t", "\t", None):
        assert data.load_file(tabs, delimiter=delimiter)[1].tolist() == ["u,v", "w,x"]


@pytest.mark.parametrize("columns", [3, 3000])
def test_rows_of_any_length(tmp_path, columns):
    names = [f"{i:0100}" + "x" for i in range(columns)]
    path = write(tmp_path, "a.csv", ",".join(names) + "\n" + (",".join(map(str, range(columns))) + "\n") * 2)
    d = data.load(path, test_size=0)
    assert d.schema.names == tuple(names[:-1])
    assert d.X_train.tolist() == [list(range(columns - 1))] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, encoding):
    path = write(tmp_path, "a.csv", "größe;y\n1;süß\n2;bitter\n".encode(encoding))
    assert data.load_file(path, encoding=encoding)[1].tolist() == ["süß", "bitter"]
    if encoding == "latin-1":
        with pytest.warns(UserWarning, match=r"not text in UTF-8; read as cp1252.*--encoding"):
            assert data.load_file(path)[1].tolist() == ["süß", "bitter"]
    else:
        assert data.load_file(path)[1].tolist() == ["süß", "bitter"]
    with pytest.raises(ValueError, match="not text in ascii"):
        data.load_file(write(tmp_path, "b.csv", "größe;y\n1;2\n"), encoding="ascii")


@pytest.mark.parametrize("given", [None, "utf-8-sig", "utf_8_sig"])
@pytest.mark.parametrize("delimiter", [",", " "])
def test_comment_marks_of_savetxt_are_no_part_of_a_name(tmp_path, delimiter, given):
    path = tmp_path / "a.csv"
    np.savetxt(path, [[1, 2, 0], [3, 4, 1]], delimiter=delimiter, header=delimiter.join("aby"))
    text = path.read_text()
    forms = {"utf-8": text.encode()}
    forms |= {name: codecs.lookup(name).encode("\ufeff" + text)[0] for name in ("utf-8", "utf-16-le", "utf-16-be")}
    for raw in (text.encode(), *forms.values()):
        assert data.load(write(tmp_path, "b.csv", raw), test_size=0, encoding=given).schema.names == ("a", "b")


BAD_OPTIONS = {
    "delimiter": ({"delimiter": "::"}, "delimiter is '::'; expected one character"),
    "delimiter that is the decimal": ({"delimiter": ",", "decimal": ","}, "delimiter is ','"),
    "decimal": ({"decimal": ";"}, "decimal is ';'; expected . or ,"),
    "encoding": ({"encoding": "utf-99"}, "encoding is 'utf-99', which Python does not know"),
    "zero_based": ({"zero_based": True}, "zero_based is True, but .* is not an svmlight file"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(tmp_path, case):
    options, message = BAD_OPTIONS[case]
    with pytest.raises(ValueError, match=message):
        data.load_file(write(tmp_path, "a.csv", "1,2\n3,4\n"), **options)


BAD_CSV = {
    "text": ("a,colour,y\n1,red,0\n", None, r"column 'colour' holds the text 'red' in row 0 \(from 0\).*OneHotEncoder"),
    "text without header": ("1,red,0\n2,blue,1\n", None, "column '1' holds the text 'red' in row 0"),
    "some text": ("a,b,y\n1,2,0\n3,1_1,1\n", None, "column 'b' holds the text '1_1' in row 1"),
    "text among truth values": ("a,b,y\n1,True,0\n3,maybe,1\n", None, "column 'b' holds the text 'True'"),
    "missing marker": ("1,NA,0\n2,3,1\n", None, r"column '1' has no value in row 0 \(from 0\); fill it in"),
    "question marks": ("1,?,0\n2,3,1\n4,?,1\n", None, "column '1' has no value in rows 0, 2"),
    "text beyond the target": ("y,a,b\n0,1,2\n1,2,x\n", "y", "column 'b' holds the text 'x' in row 1"),
    "text after the target": ("y,a,b\n0,x,2\n", "y", "column 'a'"),
    "empty cell": ("a,b,y\n1,2,0\n3,,1\n", None, "column 'b' has no value in row 1"),
    "empty column": ("a,b,y\n1,,0\n3,,1\n", None, "column 'b' has no value in rows 0, 1"),
    "empty target": ("a,b,y\n1,2,0\n3,4,\n", None, "target 'y' is missing in row 1"),
    "NA among labels": ("a,y\n1,cat\n2,NA\n3,dog\n4,null\n", None, "target 'y' is missing in rows 1, 3"),
    "nan": ("a,b,y\n1,2,0\n3,nan,1\n", None, "column 'b' has no value in row 1"),
    "infinite": ("a,b,y\n1,2,0\n3,1e999,1\n", None, "row 1, column 1|column 'b' holds the text"),
    "nan target": ("a,y\n1,2\n3,nan\n", None, "target 'y' is missing in row 1"),
    "too few fields": ("a,b,y\n1,2,0\n3,4\n", None, "target 'y' is missing in row 1"),
    "too many fields": ("a,b,y\n1,2,0\n3,4,1\n3,4,1,7\n", None, "table of 3 columns.*line 4, saw 4"),
    "too many fields at once": ("1,2,0\n" * 200 + "3,4,1,7\n", None, "line 201, saw 4"),
    "names of rows": ("a,b,y\n1,1,2,0\n2,3,4,1\n", None, r"names 3 columns, but the rows have 4.*row\.names=FALSE"),
    "header alone": ("a,b,y\n", None, "0 rows of data"),
    "one column": ("1\n2\n", None, "0 feature columns"),
    "nameless column": (",a,y\n0,1,2\n", None, r"column 0 \(from 0\) without a name"),
    "a name twice": ("a,b,a,y\n0,1,2,1\n", None, "names a column twice: a"),
    "unknown target": ("a,b,y\n1,2,0\n", "z", "target 'z'.*columns a, b, y"),
    "target twice": ("a,y,y\n1,2,0\n", "y", "target 'y'"),
    "target index": ("a,b,y\n1,2,0\n", 3, "target 3.*0 to 2"),
    "negative target": ("a,b,y\n1,2,0\n", -1, "target -1.*0 to 2"),
    "named without header": ("1,2,0\n2,3,1\n", "y", "target 'y'.*no header"),
    "open quote": ('a,y\n1,"2\n3,4\n', None, "EOF inside string"),
    "quote alone": ('"', None, "is empty"),
    "empty": ("", None, "is empty"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(tmp_path, case):
    content, target, message = BAD_CSV[case]
    path = write(tmp_path, "a.csv", content)
    with pytest.raises(ValueError, match=message) as error:
        data.load(path, target=target)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_target_is_for_tables_alone(tmp_path):
    npz = tmp_path / "a.npz"
    np.savez(npz, X=ONES, y=ONES[:, 0])
    for source in (npz, write(tmp_path, "a", SVMLIGHT), write_idx_folder(tmp_path / "i"), "iris"):
        with pytest.raises(ValueError, match="target is 'y', but"):
            data.load(source, target="y")


# Parquet and Feather


FRAME = pd.DataFrame(
    {
        "whole": [1, 2, 3],
        "real": [0.5, 1.5, 2.5],
        "truth": [True, False, True],
        "nullable": pd.array([4, 5, 6], dtype="Int64"),
        "y": ["01", "02", "01"],
    },
    index=[7, 8, 9],
)


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_binary_tables(tmp_path, kind):
    pytest.importorskip("pyarrow")
    for name in (f"a.{kind}", "a"):
        path = tmp_path / name
        getattr(FRAME.reset_index(drop=True) if kind == "feather" else FRAME, f"to_{kind}")(path)
        X, y = data.load_file(path)
        assert X.tolist() == [[1, 0.5, 1, 4], [2, 1.5, 0, 5], [3, 2.5, 1, 6]]
        assert y.tolist() == ["01", "02", "01"]
    raw = path.read_bytes()
    with pytest.raises(ValueError, match=f"no {kind.capitalize()} file, or is damaged"):
        data.load_file(write(tmp_path, f"b.{kind}", raw[: len(raw) // 2]))
    with pytest.raises(ValueError, match="delimiter is ';', but"):
        data.load_file(path, delimiter=";")


@pytest.mark.parametrize(
    ("column", "y"),
    [
        (pd.Categorical(["b", "a", "b"]), ["b", "a", "b"]),
        (pd.Categorical([3, 1, 3]), [3, 1, 3]),
        ([True, False, True], [True, False, True]),
        ([1.0, 2.0, 1.0], [1, 2, 1]),
        (np.float32([0.5, 2, 1]), [0.5, 2, 1]),
    ],
)
def test_targets_of_binary_tables(tmp_path, column, y):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"a": np.float32([1, 2, 3]), "y": column}).to_parquet(tmp_path / "a.parquet")
    X, found = data.load_file(tmp_path / "a.parquet")
    assert X.dtype == np.float32
    assert found.tolist() == y


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, None, 3], "y": [0, 1, 0]}, "column 'a' has no value in row 1"),
        ({"a": pd.Categorical(["u", "v", "u"]), "y": [0, 1, 0]}, "column 'a' holds the text 'u'"),
        ({"a": pd.to_datetime(["2020-01-01"] * 3), "y": [0, 1, 0]}, "column 'a' holds the value '2020-01-01"),
        ({"a": [1, 2, 3], "y": pd.to_datetime(["2020-01-01"] * 3)}, "target 'y' holds datetime.*numbers or text"),
        ({"a": [1, 2, 3], "y": ["u", None, "v"]}, "target 'y' is missing in row 1"),
        ({"a": [1, 2, 3], "y": [[1], [2], [3]]}, "target 'y' holds object"),
    ],
)
def test_bad_binary_tables(tmp_path, columns, message):
    pytest.importorskip("pyarrow")
    pd.DataFrame(columns).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        data.load_file(tmp_path / "a.parquet")


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r'pip install "asysvrg\[parquet\]"'):
        data.load_file(write(tmp_path, "a.parquet", b"PAR1"))


def test_damaged_offsets_of_text_are_found(tmp_path):
    """pandas would look for the text there, outside of the file's memory."""
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.feather"
    pd.DataFrame({"a": [1, 2, 3], "y": ["u", "v", "u"]}).to_feather(path, compression="uncompressed")
    content, found = path.read_bytes(), False
    for kind in "<i4", "<i8":
        good, bad = (np.array([0, 1, 2, last], kind).tobytes() for last in (3, 2**31 - 1))
        found |= good in content
        content = content.replace(good, bad)
    assert found
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no Feather file, or is damaged"):
        data.load_file(path)


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_damaged_lengths_are_no_lack_of_memory(tmp_path, kind):
    """In one place the bytes are a length of 140 TB."""
    pytest.importorskip("pyarrow")
    path = tmp_path / f"a.{kind}"
    getattr(pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1, 1.5], "y": ["u", "v", "u"]}), f"to_{kind}")(path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 2):
        path.write_bytes(whole[:at] + b"0000\x80\x80\x80\x80" + whole[at:])
        with contextlib.suppress(ValueError):
            data.load_file(path)
