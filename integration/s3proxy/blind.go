package s3proxy

import (
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// blinder takes the conditions out of requests, and signs them anew since the
// signature covers the headers that were there.
type blinder struct {
	credentials aws.Credentials
	region      string
}

// IgnoreConditions makes the server behind the proxy look like one that knows
// no conditional writes: If-Match and If-None-Match on anything but reads do
// not reach it. The credentials are those that the clients use.
func (p *Proxy) IgnoreConditions(accessKey, secretKey, region string) {
	p.blind.Store(&blinder{aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, region})
}

// apply removes the conditions of a write.
func (b *blinder) apply(r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	conditional := false
	for _, h := range []string{"If-Match", "If-None-Match", "X-Amz-Copy-Source-If-Match", "X-Amz-Copy-Source-If-None-Match"} {
		conditional = conditional || r.Header.Get(h) != ""
		r.Header.Del(h)
	}
	if !conditional {
		return nil
	}
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if hash == "" {
		return errNoHash
	}
	for _, h := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		r.Header.Del(h)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	host := r.Host
	err := signer.SignHTTP(r.Context(), b.credentials, r, hash, "s3", b.region, time.Now())
	if err != nil {
		return fmt.Errorf("sign again: %w", err)
	}
	r.Host = host
	return nil
}
