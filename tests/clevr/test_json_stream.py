"""Reading an array of a large JSON file piece by piece."""

import json

import pytest

from clevr_prep.clevr.json_stream import JsonArray, JsonStreamError


class TestJsonArray:
    def read(self, tmp_path, text, key="a"):
        path = tmp_path / "file.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list(JsonArray(path, key))

    @pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
    def test_any_chunk_size_gives_what_json_gives(self, tmp_path, monkeypatch, chunk):
        monkeypatch.setattr("clevr_prep.clevr.json_stream._CHUNK", chunk)
        items = [1234, -0.5e3, 'é]},{ \\" ü', {"x": [1, {"a": []}]}, [], None, True, 17]
        for text in (
            json.dumps({"info": {"a": [0]}, "a": items, "z": [1]}, ensure_ascii=False),
            json.dumps({"b": 12, "a": items}, indent=3),
        ):
            assert self.read(tmp_path, text) == items
        assert self.read(tmp_path, '{"a": []}') == []

    def test_position_reaches_the_size(self, tmp_path):
        path = tmp_path / "file.json"
        path.write_text(json.dumps({"a": [1, 2, 3]}))
        array = JsonArray(path, "a")
        assert list(array) == [1, 2, 3]
        assert array.position == array.size == path.stat().st_size

    @pytest.mark.parametrize(
        "text", ["", "5", '{"a": [1, 2', '{"a": [1 2]}', '{"a": [nope]}', b'{"a": ["\xff"]}', "{"]
    )
    def test_broken_json_is_an_error_with_the_file(self, tmp_path, text):
        with pytest.raises(JsonStreamError, match="file.json is not valid JSON"):
            self.read(tmp_path, text)

    def test_a_list_at_the_top_is_said(self, tmp_path):
        with pytest.raises(JsonStreamError, match=r'file.json holds a list.*\{"a": \[...\]\}'):
            self.read(tmp_path, "[{}]")

    def test_what_there_is_instead_is_said(self, tmp_path):
        with pytest.raises(JsonStreamError, match="no array 'a'; what it has is info, scenes"):
            self.read(tmp_path, '{"info": {}, "scenes": [1]}')

    @pytest.mark.parametrize("chunk", [1, 2, 100])
    def test_a_byte_order_mark_is_no_content(self, tmp_path, monkeypatch, chunk):
        monkeypatch.setattr("clevr_prep.clevr.json_stream._CHUNK", chunk)
        assert self.read(tmp_path, b"\xef\xbb\xbf" + b'{"a": ["\xef\xbb\xbf", 2]}') == ["\ufeff", 2]

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
    def test_utf_16_is_said(self, tmp_path, encoding):
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        with pytest.raises(JsonStreamError, match="UTF-16; save it in UTF-8"):
            self.read(tmp_path, f'{mark}{{"a": []}}'.encode(encoding))

    @pytest.mark.parametrize("text", ["{}", '{"b": [1]}', '{"a": {"a": [1]}}', '{"a": 5}'])
    def test_a_missing_array_is_an_error(self, tmp_path, text):
        with pytest.raises(JsonStreamError, match="no array 'a'"):
            self.read(tmp_path, text)
