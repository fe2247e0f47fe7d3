/*
 * Empty on purpose. librdkafka 2.12 built by cmake without curl writes `#define WITH_OAUTHBEARER_OIDC 0` and then asks `#ifdef`, which is
 * true, so that src/rdkafka_conf.c includes this file; nothing of it is used (everything else asks `#if`).
 */
