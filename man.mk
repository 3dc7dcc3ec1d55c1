# Manuals: NAME.pod becomes NAME.SECTION. A directory that has some says
#
#	include $(top_srcdir)/man.mk
#	man_MANS = NAME.SECTION
#	EXTRA_DIST += NAME.pod
#	CLEANFILES += $(man_MANS)

SUFFIXES = .pod .1 .3 .5 .7 .8

pod2man = \
	$(AM_V_GEN)out=$(@F) && rm -f $@ $@.tmp && \
	$(POD2MAN) --errors=die --utf8 \
		--name="$${out%.*}" --section="$${out\#\#*.}" \
		--center="cbd" --release="$(PACKAGE_STRING)" \
		$< $@.tmp && \
	mv $@.tmp $@

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
