package s3

import (
	"mime"
	"strings"

	"github.com/causewayfs/causeway/store"
)

// encodeMeta makes values fit for headers. A value that is not plain ASCII, or
// that a header would trim, or that would be decoded when it comes back, is
// encoded as RFC 2047 says. S3 decodes it before storing and encodes it again
// when asked (AWS "Working with object metadata"); other servers keep it.
func encodeMeta(m store.Metadata) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		if !plain(v) {
			v = encodeWord(v)
		}
		out[k] = v
	}
	return out
}

func plain(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' || v[i] > '~' {
			return false
		}
	}
	return strings.TrimSpace(v) == v && !strings.Contains(v, "=?")
}

// encodeWord encodes also what mime.BEncoding would leave as it is.
func encodeWord(v string) string {
	if w := mime.BEncoding.Encode("utf-8", v); w != v {
		return w
	}
	var b strings.Builder
	b.WriteString("=?utf-8?q?")
	for i := range len(v) {
		const hex = "0123456789ABCDEF"
		b.Write([]byte{'=', hex[v[i]>>4], hex[v[i]&15]})
	}
	b.WriteString("?=")
	return b.String()
}

// decodeMeta undoes encodeMeta and what the server encoded. It is never nil.
func decodeMeta(m map[string]string) store.Metadata {
	out := make(store.Metadata, len(m))
	var words mime.WordDecoder
	for k, v := range m {
		if strings.Contains(v, "=?") {
			if text, err := words.DecodeHeader(v); err == nil {
				v = text
			}
		}
		out[strings.ToLower(k)] = v
	}
	return out
}
