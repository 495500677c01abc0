package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// watchTLS reads certificates, and reads them again when a file changes. While
// only one of certificate and key has been replaced, the old pair holds.
func watchTLS(c Config) (*watched[*tls.Config], error) {
	paths := []string{c.TLSCert, c.TLSKey}
	if c.ClientCAs != "" {
		paths = append(paths, c.ClientCAs)
	}
	return watch(c, func(files [][]byte) (*tls.Config, error) {
		pair, err := tls.X509KeyPair(files[0], files[1])
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", c.TLSCert, c.TLSKey, err)
		}
		t := &tls.Config{
			Certificates: []tls.Certificate{pair},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"h2", "http/1.1"},
		}
		if len(files) > 2 {
			t.ClientCAs = x509.NewCertPool()
			if !t.ClientCAs.AppendCertsFromPEM(files[2]) {
				return nil, fmt.Errorf("%s: %w", c.ClientCAs, errors.New("there is no certificate in it"))
			}
			// Whoever has none may have a password.
			t.ClientAuth = tls.VerifyClientCertIfGiven
		}
		return t, nil
	}, paths...)
}

// serverTLS takes for each connection what the files say then.
func serverTLS(w *watched[*tls.Config]) *tls.Config {
	now, _ := w.get()
	t := now.Clone()
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now, _ := w.get()
		return now, nil
	}
	return t
}

// certificateUser returns whom a certificate that was verified names: its common
// name, or else the first of its mail addresses, DNS names and URIs. It is empty
// if none of them is the name of a user.
func certificateUser(state *tls.ConnectionState) string {
	if state == nil || len(state.VerifiedChains) == 0 {
		return ""
	}
	leaf := state.VerifiedChains[0][0]
	names := []string{leaf.Subject.CommonName}
	names = append(names, leaf.EmailAddresses...)
	names = append(names, leaf.DNSNames...)
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	for _, name := range names {
		if checkUser(name) == nil {
			return name
		}
	}
	return ""
}
