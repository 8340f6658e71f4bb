"""XML that is no topology of NCCL: file, line and reason, soon, in bounded memory."""

import pytest

from python.topology.files import MACHINES, gpu, refused, system
from weft.topology import Topology

MIB = 1 << 20
A, B = "0000:07:00.0", "0000:0f:00.0"
ENTITIES = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 20))


def read(text_or_path):
    return Topology.from_nccl_xml(text_or_path)


def nvlink(**attributes):
    words = " ".join(f'{k}="{v}"' for k, v in attributes.items())
    return f"\n<nvlink {words}/>\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "empty"),
        ("<", 1, "no XML"),
        ("<system", 1, "no XML: unclosed token"),
        ('<system version="1">\n<cpu numaid="0">', 2, "no XML: no element found"),
        ('<system version="1">\n</cpu>', 2, "no XML: mismatched tag"),
        ('<system version="1"\nversion="1"/>', 2, "no XML: duplicate attribute"),
        ("<system/>", 1, "no version, but NCCL writes 1 and RCCL 2"),
        ('<system version="3"/>', 1, 'version "3"'),
        ('\n<graphs version="1"/>', 2, "a file of NCCL's graphs"),
        ("<topology/>", 1, "<topology>, but NCCL's topologies are a <system>"),
        ('<system version="1"/><system version="1"/>', 1, "no XML: junk after document element"),
        ('<!DOCTYPE system>\n<system version="1"/>', 1, "a document type"),
        ('\n<!DOCTYPE system SYSTEM "/etc/passwd"><system/>', 2, "a document type"),
        ('<!DOCTYPE x [<!ENTITY e SYSTEM "/etc/passwd">]><x>&e;</x>', 1, "a document type"),
        (f'<!DOCTYPE x [<!ENTITY e0 "ha">{ENTITIES}]><x>&e19;</x>', 1, "a document type"),
        ('<system version="1">&amp;</system>', 1, "text between elements"),
        ('<system version="&e;"/>', 1, "no XML: undefined entity"),
        ('<?xml version="1.0" encoding="utf-7"?>\n<system/>', 2, "no version"),
        (system(gpu("7", 0)), 3, 'busid "7" is no PCI bus id'),
        (system("<pci/>"), 3, "<pci> without busid"),
        (system(gpu(A, "x")), 3, 'rank "x" is no whole number'),
        (system(gpu(A, 9**20)), 3, "is no whole number"),
        (system(gpu(A, 0) + "\n" + gpu(A, 1)), 4, f"busid {A} is here twice, first in line 3"),
        (system(gpu(A, 0).replace("16.0 GT/s", "17 GT/s")), 3, '"17 GT/s PCIe" is no speed of PC'),
        (system(gpu(A, 0).replace('h="16"', 'h="-1"')), 3, "link_width -1 is no number of lanes"),
        (system(gpu(A, 0).replace('h="16"', 'h="NaN"')), 3, 'link_width "NaN" is no whole number'),
        (system(gpu(A, 0).replace('sm="80"', 'sm="ampere"')), 3, 'sm "ampere" is no whole number'),
        (system(gpu(A, 0, nvlink(target=B, count=1, tclass="0x030200"))), 4, "no GPU and no NVSw"),
        (system(gpu(A, 0, nvlink(target=B, count=1))), 4, f"the target {B} is no GPU"),
        (system(gpu(A, 0, nvlink(target=A, count=1))), 4, f"the target {A} is the GPU itself"),
        (system(gpu(A, 0, nvlink(count=1))), 4, "<nvlink> without target"),
        (system(gpu(A, 0, nvlink(target=B, tclass="0x068000"))), 4, "count must be a whole number"),
        (system(gpu(A, 0, nvlink(target=B, count=0, tclass="0x068000"))), 4, "from 1 to 4096"),
        (system(gpu(A, 0, nvlink(target=B, count=10**8, tclass="0x068000"))), 4, "from 1 to 4096"),
        (system(gpu(A, 0, nvlink(target=B, count="NaN", tclass="0x068000"))), 4, "no whole number"),
        (system(gpu(A, 0, "<c2c bw='x' count='1'/>")), 3, 'bw "x" is no whole number'),
        (system(f'<pci busid="{A}"><gpu/><gpu/></pci>'), 3, "a second <gpu> in the PCI function"),
        (system(f'<pci busid="{A}"><gpu/>{gpu(B, 1)}</pci>'), 3, "PCI functions below the GPU 00"),
        (system('</cpu>\n<cpu numaid="0">'), 4, '"cpu:0" is here twice, first in line 2'),
        (system("").replace('"0"', '"many"'), 2, 'numaid "many" is no whole number'),
        (system('<pci busid="&#9;"/>'), 3, "a control character"),
    ],
)  # fmt: skip
def test_what_is_no_topology(text, line, reason):
    message = refused(read, text)
    assert message.startswith(f"<text>:{line}: ")
    assert reason in message


@pytest.mark.parametrize("machine", MACHINES, ids=lambda path: path.stem)
def test_a_truncated_file(machine, tmp_path):
    text = machine.read_text()
    path = tmp_path / "cut.xml"
    for end in range(1, len(text.rstrip()) - 1, len(text) // 7):
        path.write_text(text[:end])
        assert refused(read, path).startswith(f"{path}:")


def many(element, count):
    return system("\n".join(element % i for i in range(count)))


def all_to_all(count):
    ids = [f"0000:{i // 32:02x}:{i % 32:02x}.0" for i in range(count)]
    rows = []
    for i, bus in enumerate(ids):
        peers = (nvlink(target=t, count=1).strip() for t in ids if t != bus)
        rows.append(gpu(bus, i, "".join(peers)))
    return system("".join(rows))


BIG = {
    "nested": ("<pci>" * (3 * MIB), "nested deeper than 64"),
    "nested switches": (
        system("".join(f'<pci busid="0000:{i:02x}:00.0">' for i in range(200)) + "</pci>" * 200),
        "nested deeper than 64",
    ),
    "a million elements": ("<x>" + "<y/>" * 1_000_000 + "</x>", "more than 40000 elements"),
    "many switches": (many('<pci busid="%04x:00:00.0"/>', 5000), "more than 4096 vertices"),
    "many GPUs": (many('<pci busid="%04x:00:00.0"><gpu/></pci>', 2000), "more than 1024 GPUs"),
    "many NUMA nodes": (
        '<system version="1">'
        + "".join(f'<cpu numaid="{i}"/>' for i in range(4000))
        + "</system>",
        "more than 65536 wires",
    ),
    "all to all": (all_to_all(300), "more than 40000 elements"),
    "many switches of one GPU": (
        system(
            gpu(A, 0, "".join(
                f'<nvlink target="{i:04x}:01:00.0" count="1" tclass="0x068000"/>'
                for i in range(5000)
            ))
        ),
        "more than 4096 vertices",
    ),
    "many attributes": ("<system " + " ".join(f'a{i}=""' for i in range(100_000)) + "/>", "64 a"),
    "a long value": ('<system version="' + "1" * (15 * MIB) + '"/>', "longer than 1024"),
    "a long name": ("<" + "x" * (15 * MIB) + "/>", "longer than 1024"),
    "a long comment": ("<!--" + "x" * (15 * MIB), "no XML: unclosed token"),
    "many comments": ("<system>" + "<!-- -->" * (MIB) + "</system>", "no version"),
    "many instructions": ("<system>" + "<?x y?>" * (2 * MIB) + "</system>", "no version"),
    "many lines": ("<system>" + "\n" * (15 * MIB), "no XML: no element found"),
    "long text": ("<system>" + "x" * (15 * MIB) + "</system>", "text between elements"),
    "many references": ("<system>" + "&#32;" * (3 * MIB) + "</system>", "no version"),
    "sections": ("<system>" + "<![CDATA[ ]]>" * MIB + "</system>", "no version"),
    "too long": ("<system>" + " " * (17 * MIB), "longer than 16 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BIG)
def test_what_is_enormous(kind, tmp_path):
    path = tmp_path / "big.xml"
    text, reason = BIG[kind]
    path.write_text(text)
    message = refused(read, path)
    assert message.startswith(f"{path}:")
    assert reason in message
    assert len(message) < 1000


def test_encodings(tmp_path):
    path = tmp_path / "odd.xml"
    path.write_bytes('<system version="1"/>'.encode("utf-16"))
    assert "not UTF-8" in refused(read, path)
    path.write_bytes(b'<system version="1"\n name="\xe9"/>')
    assert refused(read, path).startswith(f"{path}:2: not UTF-8")
    path.write_bytes(b"\xef\xbb\xbf" + system(gpu(A, 0)).encode())
    assert read(path).size == 1


def test_a_json_file_is_no_xml():
    assert "cannot be read" in refused(read, '{"schema": "weft.topology/1"}')
    assert "no XML" in refused(read, '\n{"schema":\n"weft.topology/1"}')
