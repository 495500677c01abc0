package s3

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	defaultMaxConns = 256
	dialTimeout     = 5 * time.Second
	tlsTimeout      = 10 * time.Second
	idleTimeout     = 60 * time.Second // S3 closes idle connections after some 20 s to minutes
	bufferBytes     = 32 << 10         // of a connection, each way
)

// newTransport returns a transport for many small requests at once: HTTP/1.1
// (one request a connection, as S3 has it), no connection is closed only
// because others are idle, no compression. Deadlines of requests are the
// caller's, because they depend on the size.
func newTransport(env aws.Config, socket string, maxConns int) *http.Transport {
	if maxConns <= 0 {
		maxConns = defaultMaxConns
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	t := baseTransport(env).Clone()
	t.DialContext = dialer.DialContext
	if socket != "" {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = maxConns
	t.MaxConnsPerHost = maxConns
	t.IdleConnTimeout = idleTimeout
	t.TLSHandshakeTimeout = tlsTimeout
	t.ResponseHeaderTimeout = 0
	t.DisableCompression = true
	t.WriteBufferSize = bufferBytes
	t.ReadBufferSize = bufferBytes
	t.ForceAttemptHTTP2 = false
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.NextProtos = nil
	t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(maxConns)
	return t
}
