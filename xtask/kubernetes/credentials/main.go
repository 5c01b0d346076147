// Makes everything a new cluster proves identities with: one certificate authority, a certificate
// per component, the key that signs service account tokens, and a kubeconfig per client.
//
// It is of the standard library only, and so quickly built.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A cluster for tests lives for hours; the margin is for one that is forgotten.
const lifetime = 365 * 24 * time.Hour

// The folder everything is written to, and who signs it.
type authority struct {
	folder      string
	certificate *x509.Certificate
	encoded     []byte
	key         *ecdsa.PrivateKey
}

// One certificate: its file name, whom it names, and the addresses it serves, if any.
type subject struct {
	file         string
	name         string
	organization string
	addresses    []string
}

func main() {
	folder := flag.String("folder", "", "where to write")
	node := flag.String("node", "", "the name of the node")
	server := flag.String("server", "", "host:port of the API server, for the kubeconfigs")
	addresses := flag.String("addresses", "", "addresses of the API server and the kubelet, comma separated")
	flag.Parse()
	if *folder == "" || *node == "" || *server == "" || *addresses == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*folder, *node, *server, strings.Split(*addresses, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "credentials:", err)
		os.Exit(1)
	}
}

func run(folder, node, server string, addresses []string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority(folder)
	if err != nil {
		return err
	}
	names := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "localhost",
	}
	servers := []subject{
		{"apiserver", "kube-apiserver", "", append(names, addresses...)},
		{"kubelet-server", node, "", append([]string{node}, addresses...)},
	}
	clients := []subject{
		{"admin", "admin", "system:masters", nil},
		{"apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters", nil},
		{"controller-manager", "system:kube-controller-manager", "", nil},
		{"front-proxy-client", "front-proxy", "", nil},
		{"kubelet", "system:node:" + node, "system:nodes", nil},
		{"proxy", "system:kube-proxy", "", nil},
		{"scheduler", "system:kube-scheduler", "", nil},
	}
	for _, one := range servers {
		if _, _, err := ca.issue(one); err != nil {
			return err
		}
	}
	for _, one := range clients {
		certificate, key, err := ca.issue(one)
		if err != nil {
			return err
		}
		config := kubeconfig(server, ca.encoded, certificate, key)
		if err := ca.write(one.file+".kubeconfig", config); err != nil {
			return err
		}
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	encoded, err := encodeKey(tokens)
	if err != nil {
		return err
	}
	if err := ca.write("service-accounts.key", encoded); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(tokens.Public())
	if err != nil {
		return err
	}
	block := pem.Block{Type: "PUBLIC KEY", Bytes: public}
	return ca.write("service-accounts.pub", pem.EncodeToMemory(&block))
}

func newAuthority(folder string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: "mesh test cluster"})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	encodedKey, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	ca := &authority{folder, certificate, encodeCertificate(der), key}
	if err := ca.write("ca.crt", ca.encoded); err != nil {
		return nil, err
	}
	return ca, ca.write("ca.key", encodedKey)
}

// Signs a certificate and writes it with its key; returns both.
func (ca *authority) issue(of subject) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	name := pkix.Name{CommonName: of.name}
	if of.organization != "" {
		name.Organization = []string{of.organization}
	}
	template, err := newTemplate(name)
	if err != nil {
		return nil, nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(of.addresses) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, address := range of.addresses {
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, address)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, private.Public(), ca.key)
	if err != nil {
		return nil, nil, err
	}
	certificate = encodeCertificate(der)
	if key, err = encodeKey(private); err != nil {
		return nil, nil, err
	}
	if err := ca.write(of.file+".crt", certificate); err != nil {
		return nil, nil, err
	}
	return certificate, key, ca.write(of.file+".key", key)
}

func (ca *authority) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(ca.folder, name), content, 0o600)
}

func newTemplate(name pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               name,
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		BasicConstraintsValid: true,
	}, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func kubeconfig(server string, ca, certificate, key []byte) []byte {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: mesh
  cluster:
    server: https://%s
    certificate-authority-data: %s
users:
- name: mesh
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: mesh
  context: {cluster: mesh, user: mesh}
current-context: mesh
`, server, encode(ca), encode(certificate), encode(key))
}
