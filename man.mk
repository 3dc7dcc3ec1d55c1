# Manuals: NAME.pod becomes NAME.SECTION, with man-end.pod at its end. A directory that has some says
#
#	include $(top_srcdir)/man.mk
#	man_MANS = NAME.SECTION
#	EXTRA_DIST += NAME.pod
#	CLEANFILES += $(man_MANS)

SUFFIXES = .pod .1 .3 .5 .7 .8

pod2man = \
	$(AM_V_GEN)out=$(@F) && rm -f $@ $@.tmp && \
	{ cat $< && echo && sed 's/%VERSION%/$(VERSION)/' $(top_srcdir)/man-end.pod; } >$@.pod && \
	$(POD2MAN) --errors=die --utf8 \
		--name="$${out%.*}" --section="$${out\#\#*.}" \
		--center="cbd" --release="$(PACKAGE_STRING)" \
		$@.pod $@.tmp && \
	rm -f $@.pod && mv $@.tmp $@

.pod.1:
	$(pod2man)
.pod.3:
	$(pod2man)
.pod.5:
	$(pod2man)
.pod.7:
	$(pod2man)
.pod.8:
	$(pod2man)
